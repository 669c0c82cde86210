"""What the world itself knows: its expert's answer, or how much a preference likes an answer.

For experiments: the truth is known, so noise and a change of mind can be put in and their effect measured.
"""

import hashlib

from pydantic import Field

from agent.judging import Answered
from agent.told import finite, same_answer, told, told_text, was_stepped
from envs.component import Settings, UserError


class Drift(Settings):
    """From `cycle` on, `prefer` holds instead."""

    cycle: int = Field(ge=0)
    prefer: str | None = None


class Config(Settings):
    """The oracle's own settings.

    Attributes:
        prefer: a preference in `info["liking"]`; without it, an answer that is `info["expert"]` beats one that isn't.
        noise: share of judgements that are turned round. Which ones depends on the two answers' places in their
            episodes and on `seed`, on nothing else.
        drift: a change of mind. The later of the two episodes says which cycle it is.
    """

    prefer: str | None = None
    noise: float = Field(0.0, ge=0, le=0.5)
    seed: int = 0
    drift: Drift | None = None

    def build(self) -> "Oracle":
        return Oracle(self)


class Oracle:
    """The margin is the difference in liking, or 1 for the expert's answer."""

    name = "oracle"

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def judge(self, a: Answered, b: Answered) -> float | None:
        """See `agent.judging.Annotator`.

        Raises:
            UserError: the world does not tell what the judgement rests on.
        """
        prefer = self._preference(max(a.episode.cycle, b.episode.cycle))
        margin = _by_expert(a, b) if prefer is None else _by_liking(a, b, prefer)
        if not margin:
            return None
        return -margin if self._errs(a, b) else margin

    def _preference(self, cycle: int) -> str | None:
        drift = self.settings.drift
        return drift.prefer if drift is not None and cycle >= drift.cycle else self.settings.prefer

    def _errs(self, a: Answered, b: Answered) -> bool:
        """Whether this judgement is one of the wrong ones; the same for both orders."""
        what = (sorted((x.episode.id, x.place) for x in (a, b)), self.settings.seed)
        drawn = int.from_bytes(hashlib.blake2b(repr(what).encode(), digest_size=8).digest(), "big")
        return drawn < self.settings.noise * 2**64


def _by_liking(a: Answered, b: Answered, prefer: str) -> float | None:
    """None if one of the answers did not reach the world, which then said nothing of it."""
    if not (was_stepped(a.step) and was_stepped(b.step)):
        return None
    return _liking(a, prefer) - _liking(b, prefer)


def _liking(answer: Answered, prefer: str) -> float:
    asked = f"annotator.prefer is {prefer!r}"
    likings = told(answer.step, "liking", asked, "leave prefer out, and the world's expert judges")
    if not isinstance(likings, dict) or prefer not in likings:
        there = ", ".join(map(str, likings)) if isinstance(likings, dict) else repr(likings)
        raise UserError(f"{asked}, but the world's info['liking'] has no such preference. There are: {there}.")
    return finite(likings[prefer], f"info['liking'][{prefer!r}]", asked)


def _by_expert(a: Answered, b: Answered) -> float | None:
    """An answer that did not reach the world is measured by the expert's in the other one's place."""
    experts = [_expert(x) if was_stepped(x.step) else None for x in (a, b)]
    if experts == [None, None]:
        return None
    right = [
        same_answer(x.step, expert or other or "")
        for x, expert, other in zip((a, b), experts, reversed(experts), strict=True)
    ]
    return float(right[0]) - float(right[1])


def _expert(answer: Answered) -> str:
    return told_text(answer.step, "expert", "annotator is the oracle", "name a preference by annotator.prefer")
