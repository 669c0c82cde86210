"""What an exam shows without seeing, listening or thinking: no skill may be claimed that a control reaches too.

A constant answer and a coin are actors; the blind and the deaf are the same policy in a world that shows grey pictures
(`blank` of `envs.drift`) or gives no instruction. All sit the exam of the policy: the same seeds and the same luck.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from envs.collect import Actor, WorldPool
from envs.multimodal import WorldSettings
from envs.types import Choices, Episode, Observation, Reply
from schedules.comparison import ExamResult
from schedules.exam import sit

MOST = 0.55
"""A control with more success than this shows that the task asks for less than it seems to."""

Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Controls:
    """The controls of one regime; None where one has no meaning.

    Attributes:
        constants: success of every action said all the time; empty where anything may be said.
        coin: any of the choices, all equally likely.
        blind: the policy with grey pictures; None where there are none.
        deaf: the policy without the instruction; None where all episodes have the same one.
    """

    task: str
    constants: Mapping[str, ExamResult]
    coin: ExamResult | None
    blind: ExamResult | None
    deaf: ExamResult | None

    @property
    def best_constant(self) -> tuple[str, ExamResult] | None:
        """The constant answer with the most success."""
        return max(self.constants.items(), key=lambda item: item[1].mean) if self.constants else None

    @property
    def highest(self) -> float:
        """The most success any control has, 0..1."""
        best = self.best_constant
        there = [result for result in (best and best[1], self.coin, self.blind, self.deaf) if result]
        return max((result.mean for result in there), default=0.0)


class Constant:
    """Says one text all the time; where it may not be said, the first that may."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.version = f"constant {text}"

    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        """See `envs.collect.Actor`."""
        return [said(self.text if not allowed or self.text in allowed else allowed[0]) for allowed in choices]


class Coin:
    """Says any of the choices, all equally likely; nothing where there are none."""

    version = "coin"

    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        """See `envs.collect.Actor`."""
        return [
            said(allowed[int(rng.integers(len(allowed)))] if allowed else "")
            for allowed, rng in zip(choices, rngs, strict=True)
        ]


def said(text: str) -> Reply:
    """A reply without tokens: no model made it, and nothing is learned from it."""
    return Reply(text, np.zeros(0, np.int64), np.zeros(0, np.float32), "closed")


def controls(
    policy: Actor,
    worlds: Mapping[str, WorldSettings],
    episodes: int,
    width: int,
    watch: Watch | None = None,
) -> list[Controls]:
    """Examine the controls of every regime."""
    plain, blind, deaf = (WorldPool(some) for some in (worlds, blanked(worlds, "pictures"), blanked(worlds, "text")))
    told = []
    for task in worlds:
        tossed, played = sit(Coin(), [task], episodes, plain, width, watch)
        answers = _answers(played)
        constants = {text: sit(Constant(text), [task], episodes, plain, width, watch)[0][task] for text in answers}
        unseeing = sit(policy, [task], episodes, blind, width, watch)[0][task] if _pictures(played) else None
        unhearing = sit(policy, [task], episodes, deaf, width, watch)[0][task] if _instructed(played) else None
        told.append(Controls(task, constants, tossed[task] if answers else None, unseeing, unhearing))
    for pool in (plain, blind, deaf):
        pool.close()
    return told


def blanked(worlds: Mapping[str, WorldSettings], what: str) -> dict[str, WorldSettings]:
    """The same worlds without pictures to see, or without an instruction to hear."""
    blank = {"type": "blank", "what": what}
    return {task: settings.with_(drift=[*settings.drift, blank]) for task, settings in worlds.items()}


def _answers(played: Sequence[Episode]) -> list[str]:
    """All that could be said, in the order offered."""
    return list(dict.fromkeys(text for e in played for step in e.steps for text in step.choices or ()))


def _pictures(played: Sequence[Episode]) -> bool:
    return any(step.observation.images for e in played for step in e.steps)


def _instructed(played: Sequence[Episode]) -> bool:
    """Whether episodes begin with different instructions: different prompts where the same may be said."""
    first = [e.steps[0] for e in played if e.steps]
    return len({(s.observation.text, s.choices) for s in first}) > len({s.choices for s in first})
