"""A cumulative sum of how much newer things are than usual, counted in spreads of what is usual.

Page 1954, on the logarithm of novelty: novelty differs by orders of magnitude from world to world, and its upper tail
is long. The first numbers since a reset say what is usual; then each adds its distance above their mean, in their
standard deviations, less an allowance. No single episode can add more than `MOST`, so one oddity is no drift.
"""

import numpy as np
from pydantic import Field

from envs.component import Settings

LEAST = 1e-3
"""Added to novelty before its logarithm: differences far below it are rounding."""
LEAST_SPREAD = 0.1
"""The logarithm is never taken to spread less: where all is as good as known, a tenth more is not yet news."""
MOST = 4.0


class Config(Settings):
    """What is usual, and how much more is an alarm.

    Attributes:
        reference: numbers that say what is usual, taken after each reset; no alarm before they are there.
        allowance: taken off at each number, in standard deviations: a rise by less is let pass.
        threshold: the sum that is an alarm, in standard deviations.
    """

    reference: int = Field(128, ge=8)
    allowance: float = Field(0.5, ge=0, lt=MOST)
    threshold: float = Field(12.0, gt=0)

    def build(self) -> "Novelty":
        return Novelty(self)


class Novelty:
    """Implements `schedules.drift.Detector`."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self._usual: list[float] = []
        self._mean, self._spread, self._sum = 0.0, LEAST_SPREAD, 0.0

    def update(self, x: float) -> bool:
        """See `schedules.drift.Detector`; below 0 is taken for 0."""
        value = float(np.log(max(x, 0.0) + LEAST))
        if len(self._usual) < self._settings.reference:
            self._usual.append(value)
            self._mean = float(np.mean(self._usual))
            self._spread = max(float(np.std(self._usual)), LEAST_SPREAD)
            return False
        above = min((value - self._mean) / self._spread, MOST)
        self._sum = max(0.0, self._sum + above - self._settings.allowance)
        if self._sum <= self._settings.threshold:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """See `schedules.drift.Detector`."""
        self._usual.clear()
        self._mean, self._spread, self._sum = 0.0, LEAST_SPREAD, 0.0
