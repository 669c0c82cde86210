"""The nearest remembered steps, of some episodes only where asked, and how far away they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from memory.schema import STEP_BITS
from memory.vectors import Vectors

T = TypeVar("T")

FURTHEST = 2.0
"""1 - cosine of opposite vectors: what is compared with nothing is as new as anything can be."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Of one observation: steps int64 `[m]` by number and their cosines float32 `[m]`, best first."""

    steps: np.ndarray
    cosines: np.ndarray


def nearest_steps(vectors: Vectors, queries: np.ndarray, k: int, among: np.ndarray | None = None) -> list[Neighbours]:
    """The `k` nearest steps of each query, or all there are.

    Args:
        queries: float32 `[n, dimension]`.
        among: numbers of the episodes whose steps count, int64 ascending; None means all.

    Raises:
        ValueError: `k` is less than 1, or a query is not finite or of the wrong length.
    """
    if k < 1:
        raise ValueError(f"k is {k}: compare with 1 or more")

    def pick(steps: np.ndarray, cosines: np.ndarray) -> tuple[list[Neighbours], bool]:
        found = [_those(among, *row) for row in zip(steps, cosines, strict=True)]
        enough = all(len(one.steps) >= k for one in found)
        return [Neighbours(one.steps[:k], one.cosines[:k]) for one in found], enough

    return widened(vectors, queries, k, pick)


def widened(
    vectors: Vectors, queries: np.ndarray, k: int, pick: Callable[[np.ndarray, np.ndarray], tuple[T, bool]]
) -> T:
    """What `pick` makes of the nearest steps of each query: of the `k` nearest, or of more until it says: enough.

    Args:
        pick: given steps int64 `[n, m]` by number and cosines float32 `[n, m]`, says what it found, and if that will
            do; what it makes of all steps there are has to.
    """
    total = len(vectors)
    while True:
        found, enough = pick(*vectors.search(queries, k))
        if enough or k >= total:
            return found
        k *= 4


def novelty(neighbours: Sequence[Neighbours]) -> np.ndarray:
    """Mean of 1 - cosine to an observation's neighbours, float32 `[n]` in 0..2: 0 for what is remembered as it is.

    What has fewer neighbours than were asked for is compared with those; what has none is `FURTHEST`: finite, so that
    a mean or a drift detector may go on with it.
    """
    distances = [1 - one.cosines.mean(dtype=np.float64) if len(one.cosines) else FURTHEST for one in neighbours]
    return np.clip(np.array(distances, np.float32), 0, FURTHEST)


def _those(among: np.ndarray | None, steps: np.ndarray, cosines: np.ndarray) -> Neighbours:
    mine = np.ones(len(steps), bool) if among is None else np.isin(steps >> STEP_BITS, among)
    return Neighbours(steps[mine], cosines[mine])
