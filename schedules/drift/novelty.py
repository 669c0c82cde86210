"""The running mean of the last episodes against what was usual at first: by a factor, and by more than luck.

The first `reference` numbers since a reset say what is usual, the last `window` what is now. Both must hold for an
alarm: the mean of the window is at least `ratio` times the usual mean, and lies `sigmas` standard errors above it.
"""

from collections import deque

import numpy as np
from pydantic import Field

from envs.component import Settings


class Config(Settings):
    """What is usual, what is now, and how far apart they must be.

    Attributes:
        reference: numbers that say what is usual, taken after each reset; no alarm before they are there.
        window: numbers that say what is now.
        ratio: least factor by which the mean has grown.
        sigmas: least distance of the means in standard errors.
    """

    reference: int = Field(64, ge=8)
    window: int = Field(8, ge=1)
    ratio: float = Field(1.5, ge=1)
    sigmas: float = Field(6.0, gt=0)

    def build(self) -> "Novelty":
        return Novelty(self)


class Novelty:
    """Implements `schedules.drift.Detector`."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self.reset()

    def update(self, x: float) -> bool:
        """See `schedules.drift.Detector`."""
        if len(self._usual) < self._settings.reference:
            self._usual.append(x)
            return False
        self._now.append(x)
        if len(self._now) < self._settings.window or not self._risen():
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """See `schedules.drift.Detector`."""
        self._usual: list[float] = []
        self._now: deque[float] = deque(maxlen=self._settings.window)

    def _risen(self) -> bool:
        usual, now = float(np.mean(self._usual)), float(np.mean(self._now))
        error = float(np.std(self._usual, ddof=1)) * (1 / len(self._now) + 1 / len(self._usual)) ** 0.5
        return now > usual and now >= self._settings.ratio * usual and now - usual >= self._settings.sigmas * error
