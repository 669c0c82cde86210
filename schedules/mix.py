"""The centroid test: has the mean of the observations moved, though each of them is known?"""

from collections import deque

import numpy as np
from pydantic import Field

from envs.component import Settings


class MixSettings(Settings):
    """Two windows of episodes, and how far apart their centres must be.

    Attributes:
        on: without it the test is not made.
        reference: episodes that say what is usual, taken after each reset.
        window: episodes that say what is now.
        sigmas: least distance between the two centres, as a standard normal score.
    """

    on: bool = True
    reference: int = Field(128, ge=16)
    window: int = Field(64, ge=8)
    sigmas: float = Field(5.0, gt=0)


class Mix:
    """The test of one task. `distance` is how far the two centres are apart, 0..2; 0 until both are there."""

    def __init__(self, settings: MixSettings) -> None:
        self._settings = settings
        self.reset()

    def update(self, centre: np.ndarray) -> bool:
        """Whether the centre has moved, now that an episode with `centre` (float32 `[dimension]`) was lived."""
        if not self._settings.on:
            return False
        if len(self._usual) < self._settings.reference:
            self._usual.append(centre)
            return False
        self._now.append(centre)
        return False

    def reset(self) -> None:
        """Forget everything."""
        self._usual: list[np.ndarray] = []
        self._now: deque[np.ndarray] = deque(maxlen=self._settings.window)
        self.distance = 0.0
