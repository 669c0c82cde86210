"""What an update is given: who learns, fresh episodes on demand, what must not be lost, and what was tried before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agent.judging import JudgementMemory, NothingJudged
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from envs.types import Episode, Observation
from memory.preferences import PreferencePair


@dataclass(frozen=True, slots=True)
class Round:
    """Fresh episodes, played by the candidate as it was when they were asked for.

    Attributes:
        episodes: those of the trained task first, then those of old tasks under review.
        about: what is known of the round beside its episodes, by name (parts of the reward, cost).
    """

    episodes: Sequence[Episode]
    about: Mapping[str, float] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The trained task."""
        return self.episodes[0].task if self.episodes else ""

    @property
    def own(self) -> list[Episode]:
        """Episodes of the trained task."""
        return [e for e in self.episodes if e.task == self.task]


class Play(Protocol):
    """Plays a fresh round with the candidate as it is now: on-policy data."""

    def __call__(self, groups: int, size: int, review: float = 0.0) -> Round:
        """`groups` groups of `size` episodes; the share `review` of as many groups more is of old tasks."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """What an earlier cycle of the same task tried, and what it gained.

    Attributes:
        gain: success of the candidate less the champion's, promoted or not.
        flops: floating-point operations of its update, rollouts included.
    """

    algorithm: str
    gain: float
    flops: float


class PairMemory(Protocol):
    """Preference pairs of earlier cycles."""

    def keep(self, pairs: Sequence[PreferencePair]) -> None:
        """Remember pairs."""
        ...

    def draw(self, count: int) -> list[PreferencePair]:
        """Up to `count` pairs of earlier cycles, of regimes that are still there."""
        ...


class NoPairs:
    """A memory that keeps nothing."""

    def keep(self, pairs: Sequence[PreferencePair]) -> None:
        """See `PairMemory`."""

    def draw(self, count: int) -> list[PreferencePair]:
        """See `PairMemory`."""
        return []


def nothing_alike(observations: Sequence[Observation], answers: Sequence[str]) -> list[Observation | None]:
    """A memory that finds no observation like another."""
    return [None] * len(observations)


@dataclass(slots=True)
class Lesson:
    """All that an update may use.

    Attributes:
        policy: its candidate is what changes.
        rng: the only source of chance.
        past: earlier cycles of the same task.
        pairs: preference pairs remembered.
        alike: for each observation and answer, the most similar remembered observation of the same question to which
            that answer is wrong.
        judgements: what annotators have said before.
    """

    policy: Policy
    play: Play
    rehearsal: Rehearsal
    rng: np.random.Generator
    past: Sequence[Trial] = ()
    pairs: PairMemory = field(default_factory=NoPairs)
    alike: Callable[[Sequence[Observation], Sequence[str]], list[Observation | None]] = nothing_alike
    judgements: JudgementMemory = field(default_factory=NothingJudged)
