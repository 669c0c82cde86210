"""The centroid test: have the observations moved on the whole, though each of them is known?

The centres of the first episodes since a reset are what is usual, those of the last ones what is now. Each dimension is
measured in units of its own spread; the squared distance of the two means, over what is expected without drift, is
turned into a standard normal score by Wilson and Hilferty's cube root (PNAS 1931). Dimensions go together, so its
degrees of freedom are the effective ones, tr(R)^2 / tr(R^2) of the correlations R (Satterthwaite 1946).
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from envs.component import Settings

LEAST_SPREAD = 1e-2
"""No dimension is taken to spread less than this share of the widest: what never moved may not decide alone."""


class MixSettings(Settings):
    """Two windows of episodes, and how far apart their centres must be.

    Attributes:
        on: without it the test is not made.
        reference: episodes that say what is usual, taken after each reset.
        window: episodes that say what is now.
        score: least distance of the two, as a standard normal score. There is a look an episode, so it must be high.
    """

    on: bool = True
    reference: int = Field(128, ge=16)
    window: int = Field(64, ge=8)
    score: float = Field(4.5, gt=0)


class Mix:
    """The test of one task. `distance` is that of the two centres at the last alarm, in spreads of an episode."""

    def __init__(self, settings: MixSettings) -> None:
        self._settings = settings
        self._first: list[np.ndarray] = []
        self._usual: Usual | None = None
        self._now: deque[np.ndarray] = deque(maxlen=settings.window)
        self.distance = 0.0

    def update(self, centre: np.ndarray) -> bool:
        """Whether the centre has moved, now that an episode with `centre` (float32 `[dimension]`) was lived.

        After an alarm the test begins anew.
        """
        settings = self._settings
        if not settings.on:
            return False
        if self._usual is None:
            self._first.append(centre)
            if len(self._first) == settings.reference:
                self._usual = usual_of(np.stack(self._first))
            return False
        self._now.append(self._usual.scaled(centre))
        if len(self._now) < settings.window:
            return False
        square = float(np.square(np.mean(self._now, axis=0)).sum())
        if self._usual.score(square, settings.window) < settings.score:
            return False
        self.reset()
        self.distance = (square / len(centre)) ** 0.5
        return True

    def reset(self) -> None:
        """Forget everything: from here on it is as it was when it was made."""
        self._first.clear()
        self._now.clear()
        self._usual, self.distance = None, 0.0


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual.

    Attributes:
        count: episodes that it is made of.
        mean: float64 `[dimension]`.
        spread: of each dimension, float64 `[dimension]`.
        total: tr(R), the variance of a scaled centre.
        freedom: effective degrees of freedom of its squared length.
    """

    count: int
    mean: np.ndarray
    spread: np.ndarray
    total: float
    freedom: float

    def scaled(self, centre: np.ndarray) -> np.ndarray:
        """From the mean, in spreads."""
        return (centre - self.mean) / self.spread

    def score(self, square: float, window: int) -> float:
        """How unlikely a squared distance of the mean of `window` scaled centres is without drift, in sigmas."""
        expected = self.total * (1 / self.count + 1 / window)
        width = 2 / (9 * self.freedom)
        return float((np.cbrt(square / expected) - (1 - width)) / width**0.5)


def usual_of(centres: np.ndarray) -> Usual:
    """What `centres`, float32 `[n, dimension]`, say; tr(R^2) without the bias of few (Bai and Saranadasa 1996)."""
    x = centres.astype(np.float64)
    n, mean, spread = len(x), x.mean(axis=0), x.std(axis=0, ddof=1)
    spread = np.maximum(spread, max(LEAST_SPREAD * float(spread.max()), 1e-6))
    scaled = (x - mean) / spread
    gram = scaled @ scaled.T / (n - 1)  # as many rows as episodes: it has the traces of the correlations
    total, squares = max(float(np.trace(gram)), 1e-9), float(np.square(gram).sum())
    unbiased = (n - 1) ** 2 / ((n - 2) * (n + 1)) * (squares - total**2 / (n - 1))
    return Usual(n, mean, spread, total, total**2 / max(unbiased, total**2 / x.shape[1], 1e-18))
