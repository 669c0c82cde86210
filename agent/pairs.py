"""Pairs of answers for DPO, made from episodes in three ways and judged by an annotator.

`parting`: two episodes of a group, at the first step at which they part. `steps`: steps of a group that saw the very
same and did differently, wherever in their episodes (GiGPO's step groups, arXiv 2505.10978). `expert`: an answer
against what the world's expert would have said there, on the states the agent itself comes to (as DAgger does, arXiv
1011.0686).

Metrics: `pairs_SOURCE` how many each source gave; `agreement` share of pairs on which the annotator and the returns
agree, where both have an opinion (absent without such a pair); `dropped_REASON` how many couples of answers gave no
pair: `same` (one command), `modes` (sampled in two modes), `thought` (the expert's answer has none), `undecided` (no
opinion, or as many for as against), `margin` (below `least_margin`), `twice` (went into another couple's pair);
`dropped_broken` counts episodes.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from agent.annotators.returns import Returns
from agent.judging import Annotator, Answered, Asking, JudgementMemory, NothingJudged, Voice, opinions
from agent.sources import Couple, Encode, expert_couples, parting_couples, step_couples
from envs.component import Settings, filled, load
from envs.types import Episode
from memory.images import content_key
from memory.preferences import PreferencePair, make_pair, same_command, sound

Source = Literal["parting", "steps", "expert"]
DROPPED = ("same", "modes", "thought", "undecided", "margin", "twice")


class PairSettings(Settings):
    """How pairs are made.

    Attributes:
        sources: where couples of answers come from.
        annotator: who judges those of `parting` and `steps`, `{type: ..., ...}`; `returns` judges `steps` by the
            discounted return to go. The expert's answer needs no judge.
        discount: of the return to go.
        least_margin: smaller margins make no pair, in the annotator's unit. The expert's answer has a margin of 1,
            whatever stands here.
    """

    sources: tuple[Source, ...] = Field(("parting",), min_length=1)
    annotator: dict[str, Any] = Field(default_factory=lambda: {"type": "returns"}, validate_default=True)
    discount: float = Field(0.95, ge=0, le=1)
    least_margin: float = Field(0.0, ge=0, allow_inf_nan=False)

    @field_validator("sources")
    @classmethod
    def _each_once(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"{', '.join(value)}: a source stands there twice. Name each once.")
        return value

    @field_validator("annotator")
    @classmethod
    def _filled(cls, value: dict[str, Any]) -> dict[str, Any]:
        return filled("agent.annotators", value, "annotator")

    def build(
        self, encode: Encode | None = None, policy: Voice | None = None, memory: JudgementMemory | None = None
    ) -> "PairMaker":
        """A maker of pairs.

        Args:
            encode: gives the tokens of the expert's answer; source `expert` needs it.
            policy: is asked by annotators that ask one.
            memory: of judgements; None keeps none.

        Raises:
            UserError: the annotator can't be built.
            ValueError: something that the settings need was not given.
        """
        if "expert" in self.sources and encode is None:
            raise ValueError("source 'expert' needs encode")
        annotator: Annotator = load("agent.annotators", self.annotator, "annotator").build()
        if isinstance(annotator, Asking):
            if policy is None:
                raise ValueError(f"annotator {annotator.name!r} needs policy")
            annotator.bind(policy)
        return PairMaker(self, annotator, encode, memory)


@dataclass(slots=True)
class _Verdict:
    """What was said of all couples with the same two answers to the same observation."""

    a: Answered
    b: Answered
    margins: list[float]
    gains: list[float]


class PairMaker:
    """Makes pairs of a round's episodes."""

    def __init__(
        self,
        settings: PairSettings,
        annotator: Annotator,
        encode: Encode | None = None,
        memory: JudgementMemory | None = None,
    ) -> None:
        self.settings = settings
        self.annotator = annotator
        self.memory: JudgementMemory = memory or NothingJudged()
        self._couples: dict[Source, Callable[[Sequence[Episode]], list[Couple]]] = {
            "parting": parting_couples,
            "steps": lambda episodes: step_couples(episodes, settings.discount),
            "expert": lambda episodes: expert_couples(episodes, encode) if encode else [],
        }

    def make(self, episodes: Sequence[Episode]) -> tuple[list[PreferencePair], dict[str, float]]:
        """Pairs in the order of sources, then of episodes; none where nothing can be told apart.

        Of `parting`, every couple makes a pair: how often a group parts so is how much it counts. Of other sources,
        couples of a task and cycle with the same two answers to the same observation make one pair, by the mean of
        their margins: so a state that all come to doesn't count for more, and luck cancels out.

        Returns:
            The pairs and the metrics above.

        Raises:
            UserError: the world does not tell what a source or the annotator needs.
        """
        usable = sound(episodes)
        tally: Counter[str] = Counter({f"dropped_{reason}": 0 for reason in DROPPED})
        tally["dropped_broken"] = len(episodes) - len(usable)
        pairs: list[PreferencePair] = []
        agreed: list[bool] = []
        for source in self.settings.sources:
            verdicts = self._verdicts(source, self._couples[source](usable), tally)
            made = [pair for verdict in verdicts if (pair := self._pair(source, verdict, tally, agreed)) is not None]
            tally[f"pairs_{source}"] = len(made)
            pairs += made
        metrics = {name: float(count) for name, count in tally.items()}
        return pairs, metrics | ({"agreement": float(np.mean(agreed))} if agreed else {})

    def _verdicts(self, source: Source, couples: Sequence[Couple], tally: Counter[str]) -> list[_Verdict]:
        """Judge all couples, and bring those together that are about the same two answers."""
        kept = []
        for couple in couples:
            reason = couple.unfit or _unfit(couple)
            if reason:
                tally[f"dropped_{reason}"] += 1
            else:
                kept.append(couple)
        key_of = _Keys()
        found: dict[Hashable, _Verdict] = {}
        for couple, margin in zip(kept, self._margins(source, kept), strict=True):
            if margin is None or not math.isfinite(margin):
                tally["dropped_undecided"] += 1
                continue
            key, sign = key_of(couple) if source != "parting" else (len(found), 1)
            tally["dropped_twice"] += key in found
            a, b = (couple.a, couple.b) if sign > 0 else (couple.b, couple.a)
            verdict = found.setdefault(key, _Verdict(a, b, [], []))
            verdict.margins.append(sign * margin)
            verdict.gains.append(sign * couple.gain)
        return list(found.values())

    def _margins(self, source: Source, couples: Sequence[Couple]) -> list[float | None]:
        if source == "expert":
            return [1.0] * len(couples)
        if isinstance(self.annotator, Returns):  # of steps it would see the whole episode's return
            return [couple.gain or None for couple in couples]
        return opinions(self.annotator, [(couple.a, couple.b) for couple in couples], self.memory)

    def _pair(
        self, source: Source, verdict: _Verdict, tally: Counter[str], agreed: list[bool]
    ) -> PreferencePair | None:
        """The pair, if the couples' mean margin is one; notes whether the returns agree."""
        margin, gain = float(np.mean(verdict.margins)), float(np.mean(verdict.gains))
        if margin == 0:
            tally["dropped_undecided"] += 1
            return None
        if source != "expert" and abs(margin) < self.settings.least_margin:
            tally["dropped_margin"] += 1
            return None
        chosen, rejected = (verdict.a, verdict.b) if margin > 0 else (verdict.b, verdict.a)
        if source != "expert" and gain:
            agreed.append((gain > 0) == (margin > 0))
        name = source if source == "expert" else f"{source}/{self.annotator.name}"
        return make_pair(chosen.step, rejected.step, abs(margin), name, (chosen.episode, rejected.episode))


def _unfit(couple: Couple) -> str:
    """Why these two answers can't be compared; empty if they can."""
    one, other = couple.a.step.action, couple.b.step.action
    if same_command(one, other):
        return "same"
    return "modes" if one.mode != other.mode else ""


class _Keys:
    """Names couples by what is compared; a picture is hashed once, since episodes share arrays."""

    def __init__(self) -> None:
        self._pictures: dict[int, bytes] = {}

    def __call__(self, couple: Couple) -> tuple[Hashable, int]:
        """The same key for both orders, and 1 or -1 for the order."""
        a, b = couple.a, couple.b
        one, other = ((x.step.action.text, x.step.action.tokens.tobytes()) for x in (a, b))
        seen = a.step.observation
        where = (a.episode.task, a.episode.cycle, seen.text, *map(self._picture, seen.images), a.step.choices)
        return ((*where, one, other), 1) if one <= other else ((*where, other, one), -1)

    def _picture(self, image: np.ndarray) -> bytes:
        key = self._pictures.get(id(image))
        if key is None:
            key = self._pictures[id(image)] = content_key(image)
        return key
