"""Watches what is lived for drift: per task the success, how new its observations are, and their mix.

A `Watch` is a function of the records it was shown and of its resets: after a restart the same records, shown again,
bring it back. A champion is frozen between two promotions, so whatever moves then is the world; promotion is a reset.
Without one, what watches a task begins anew where a stretch of the life does: no restart shows it more than that.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from envs.component import Settings, filled
from schedules.drift import build_detector
from schedules.lived import Lived
from schedules.mix import Mix, MixSettings

Kind = Literal["reward", "novelty", "mix"]

LATE = 64
"""Episodes of a task among which an alarm looks for the most novel ones."""
SHOWN = 5
"""Most novel episodes that an alarm names."""
KEPT = 4096
"""Episodes of a task over which an alarm tells before from after."""
STRETCH = 16_384
"""Numbers of a life over which a task is watched on end."""
LEAST_NOVELTY = 1e-6
"""So that a ratio to what was known exactly stays finite."""


class DriftSettings(Settings):
    """What watches the lived episodes.

    Attributes:
        reward: the detector of success, see `schedules.drift`.
        observation: the detector of novelty.
        mix: the centroid test.
        cooldown: episodes of a task after an alarm of it during which it raises no other; what fires meanwhile is held
            back, and raised when they are over if no promotion came first.
    """

    reward: dict[str, Any] = Field(default_factory=lambda: {"type": "adwin"}, validate_default=True)
    observation: dict[str, Any] = Field(default_factory=lambda: {"type": "novelty"}, validate_default=True)
    mix: MixSettings = MixSettings()
    cooldown: int = Field(100, ge=0)

    @field_validator("reward", "observation")
    @classmethod
    def _detectors_exist(cls, value: dict[str, Any]) -> dict[str, Any]:
        return filled("schedules.drift", value, "drift detector")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something has moved.

    Attributes:
        episode: number of the lived episode at which it fired; one that was held back is raised later.
        task: the slot that moved.
        kind: what moved there.
        size: how far: success before minus after; novelty after by before; distance of the centres.
        sentence: for a person, with numbers.
        novel: ids of the most novel episodes of late, the most novel first.
    """

    episode: int
    task: str
    kind: Kind
    size: float
    sentence: str
    novel: tuple[str, ...]


class Watch:
    """Watches all tasks of a life, each by detectors of its own."""

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._tasks: dict[str, _Task] = {}

    def see(self, lived: Lived) -> list[Alarm]:
        """Go on with one lived episode, its number above all of its task before; the alarms it raises, mostly none."""
        now = stretch(lived.number)
        if lived.task not in self._tasks or self._tasks[lived.task].stretch < now:
            self._tasks[lived.task] = _Task(self._settings, now)
        return self._tasks[lived.task].see(lived)

    def reset(self) -> None:
        """Begin anew, at a promotion: who acts now does better or worse for reasons of its own."""
        self._tasks.clear()


class _Task:
    """What watches one task over a stretch. A detector that fires begins anew: what it fired at is usual from then on.

    Attributes:
        stretch: the one that it watches.
    """

    def __init__(self, settings: DriftSettings, stretch: int) -> None:
        self.stretch = stretch
        self._settings = settings
        self._reward = build_detector(settings.reward)
        self._observation = build_detector(settings.observation)
        self._mix = Mix(settings.mix)
        self._rewards: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._novelties: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._late: deque[Lived] = deque(maxlen=LATE)
        self._held: dict[Kind, Alarm] = {}
        self._quiet = 0

    def see(self, lived: Lived) -> list[Alarm]:
        self._late.append(lived)
        fired = [*self._see_reward(lived), *self._see_novelty(lived), *self._see_mix(lived)]
        self._held |= {alarm.kind: alarm for alarm in fired}
        if self._quiet:
            self._quiet -= 1
            return []
        raised = [*self._held.values()]
        self._held.clear()
        if raised:
            self._quiet = self._settings.cooldown
        return raised

    def _see_reward(self, lived: Lived) -> list[Alarm]:
        self._rewards.append((lived.number, lived.reward))
        if not self._reward.update(-lived.reward):
            return []
        before, after, since = step_of(self._rewards, up=False)
        self._rewards.clear()
        told = f"success in {lived.task} went from {before:.2f} to {after:.2f} about episode {since}"
        return [self._alarm(lived, "reward", before - after, told)]

    def _see_novelty(self, lived: Lived) -> list[Alarm]:
        if lived.novelty is None:
            return []
        self._novelties.append((lived.number, lived.novelty))
        if not self._observation.update(lived.novelty):
            return []
        before, after, since = step_of(self._novelties, up=True)
        self._novelties.clear()
        ratio = after / max(before, LEAST_NOVELTY)
        told = (
            f"observations in {lived.task} are {ratio:.1f} times as far from what is remembered since about episode "
            f"{since} ({before:.4f} -> {after:.4f})"
        )
        return [self._alarm(lived, "novelty", ratio, told)]

    def _see_mix(self, lived: Lived) -> list[Alarm]:
        if lived.centre is None or not self._mix.update(lived.centre):
            return []
        told = (
            f"the last {self._settings.mix.window} episodes of {lived.task} show another mix: their centre lies "
            f"{self._mix.distance:.2f} spreads of an episode from the usual one"
        )
        return [self._alarm(lived, "mix", self._mix.distance, told)]

    def _alarm(self, lived: Lived, kind: Kind, size: float, told: str) -> Alarm:
        compared = [(one.novelty, one.number, one.episode) for one in self._late if one.novelty is not None]
        novel = tuple(name for _, _, name in sorted(compared, reverse=True)[:SHOWN])
        return Alarm(lived.number, lived.task, kind, size, told, novel)


def stretch(number: int) -> int:
    """In which stretch of a life this episode lies, from 0: a function of its number, as all of a life is."""
    return (number - 1) // STRETCH


def first_of(stretch: int) -> int:
    """The number with which it begins."""
    return stretch * STRETCH + 1


def step_of(series: Sequence[tuple[int, float]], up: bool) -> tuple[float, float, int]:
    """Where a series of (number, value) steps up, or down: mean before, mean after, first number after."""
    numbers = [number for number, _ in series]
    x = np.array([value for _, value in series], np.float64)
    if len(x) == 1:
        return float(x[0]), float(x[0]), numbers[0]
    left = np.arange(1, len(x))
    sums = np.cumsum(x)[:-1]
    before, after = sums / left, (x.sum() - sums) / (len(x) - left)
    step = after - before if up else before - after
    at = int(np.argmax(left * (len(x) - left) * step * np.abs(step)))  # two levels fit best, but none the wrong way
    return float(before[at]), float(after[at]), numbers[at + 1]
