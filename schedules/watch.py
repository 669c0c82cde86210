"""Watches what is lived for drift: per task the success, how new its observations are, and their mix.

A `Watch` is a function of the records it was shown and of its resets: after a restart the same records, shown again,
bring it back. A champion is frozen between two promotions, so whatever moves then is the world; promotion is a reset.
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


class DriftSettings(Settings):
    """What watches the lived episodes.

    Attributes:
        reward: the detector of success, see `schedules.drift`.
        observation: the detector of novelty.
        mix: the centroid test.
        cooldown: episodes of a task after an alarm of it during which it raises no other.
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
        episode: number of the lived episode that raised it.
        task: the slot that moved.
        kind: what moved there.
        size: how far: success before minus after; novelty after by before; distance of the centres.
        sentence: for a person, with numbers.
        novel: ids of the most novel episodes of late, the newest thing first.
    """

    episode: int
    task: str
    kind: Kind
    size: float
    sentence: str
    novel: tuple[str, ...]


class Watch:
    """Watches all tasks of a life, each by detectors of its own."""

    def __init__(self, settings: DriftSettings, seed: int) -> None:
        """`seed` is for detectors that draw; none of the bundled ones does."""
        self._settings = settings
        self._tasks: dict[str, _Task] = {}

    def see(self, lived: Lived) -> list[Alarm]:
        """Go on with one lived episode; the alarms that it raises, mostly none."""
        if lived.task not in self._tasks:
            self._tasks[lived.task] = _Task(self._settings)
        return self._tasks[lived.task].see(lived)

    def reset(self) -> None:
        """Begin anew, at a promotion: who acts now does better or worse for reasons of its own."""
        self._tasks.clear()


class _Task:
    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._reward = build_detector(settings.reward)
        self._observation = build_detector(settings.observation)
        self._mix = Mix(settings.mix)
        self._rewards: deque[float] = deque(maxlen=KEPT)
        self._novelties: deque[float] = deque(maxlen=KEPT)
        self._late: deque[Lived] = deque(maxlen=LATE)
        self._quiet = 0

    def see(self, lived: Lived) -> list[Alarm]:
        self._late.append(lived)
        found = [*self._see_reward(lived), *self._see_novelty(lived), *self._see_mix(lived)]
        self._quiet = max(0, self._quiet - 1)
        if not found or self._quiet:
            return []
        self._quiet = self._settings.cooldown
        return found

    def _see_reward(self, lived: Lived) -> list[Alarm]:
        baseline = float(np.mean(self._rewards)) if self._rewards else lived.reward
        self._rewards.append(lived.reward)
        if not self._reward.update(baseline - lived.reward):
            return []
        before, after, since = step_of(self._rewards)
        self._rewards.clear()
        told = f"success of {lived.task} went from {before:.2f} to {after:.2f} in its last {since} episodes"
        return [self._alarm(lived, "reward", before - after, told)]

    def _see_novelty(self, lived: Lived) -> list[Alarm]:
        if lived.novelty is None:
            return []
        self._novelties.append(lived.novelty)
        if not self._observation.update(lived.novelty):
            return []
        before, after, since = step_of(self._novelties)
        self._novelties.clear()
        ratio = after / max(before, 1e-9)
        told = f"what {lived.task} shows is {ratio:.1f} times as new as before in its last {since} episodes"
        return [self._alarm(lived, "novelty", ratio, told)]

    def _see_mix(self, lived: Lived) -> list[Alarm]:
        if lived.centre is None or not self._mix.update(lived.centre):
            return []
        told = f"the mix of what {lived.task} shows has moved by {self._mix.distance:.3f}"
        return [self._alarm(lived, "mix", self._mix.distance, told)]

    def _alarm(self, lived: Lived, kind: Kind, size: float, told: str) -> Alarm:
        there = [one for one in self._late if one.novelty is not None]
        novel = sorted(there, key=lambda one: (-(one.novelty or 0.0), -one.number))[:SHOWN]
        return Alarm(lived.number, lived.task, kind, size, told, tuple(one.episode for one in novel))


def step_of(series: Sequence[float]) -> tuple[float, float, int]:
    """The split that tells two levels apart best: mean before, mean after, and how many lie after."""
    x = np.array(series, np.float64)
    n = len(x)
    if n < 2:
        return float(x.mean()), float(x.mean()), n
    left = np.arange(1, n)
    sums = np.cumsum(x)[:-1]
    means, rests = sums / left, (x.sum() - sums) / (n - left)
    at = int(np.argmax(left * (n - left) * (means - rests) ** 2))
    return float(means[at]), float(rests[at]), n - at - 1
