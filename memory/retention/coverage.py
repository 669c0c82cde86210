"""The same room for each (task, success) stratum; within one, the episodes that leave nothing far from all that stay.

Farthest-first traversal (Gonzalez 1985, https://doi.org/10.1016/0304-3975(85)90224-5; as a core-set, Sener and
Savarese, arXiv 1708.00489) over the mean vectors of episodes: the next to stay is the one farthest from those that stay
already, so that no point is more than twice as far from them as the best choice could make it.
"""

import numpy as np

from envs.component import Settings
from memory.catalogue import View
from memory.retention.balanced import shares

WIDTH = 32
"""Vectors are projected to so many numbers: distances change by a tenth or two, and a step costs a fraction."""


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Coverage":
        return Coverage()


class Coverage:
    """Begins in each stratum with the highest priority. Reads every mean vector: seconds from 1e4 episodes on."""

    def keep(self, view: View, capacity: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.retention.Retention`; `rng` decides which strata get what cannot be divided."""
        order = np.lexsort((-view.priority, view.strata))
        strata, starts, counts = np.unique(view.strata[order], return_index=True, return_counts=True)
        room = shares(counts, capacity, rng.permutation(len(strata)))
        kept = []
        for start, size, most in zip(starts.tolist(), counts.tolist(), room.tolist(), strict=True):
            members = order[start : start + size]
            if 0 < most < size:
                members = members[farthest_first(projected(view.vectors_of(view.numbers[members])), most)]
            kept.append(members[:most])
        return view.numbers[np.concatenate(kept)]


def farthest_first(points: np.ndarray, count: int) -> np.ndarray:
    """Places of `count` of `points`, float32 `[n, d]`: the first, then always the one farthest from all before.

    Of equally far ones the first. Memory is that of the points.

    >>> farthest_first(np.array([[0.0], [1.0], [9.0], [10.0], [4.0]], np.float32), 3).tolist()
    [0, 3, 4]
    """
    squares = np.einsum("nd,nd->n", points, points)
    nearest = np.full(len(points), np.inf, np.float32)
    chosen = np.zeros(count, np.int64)
    for i in range(count):
        if i:
            chosen[i] = np.argmax(nearest)
        own = chosen[i]
        distance = points @ points[own]  # squared, by (a - b)^2 = a^2 - 2ab + b^2
        distance *= -2
        distance += squares
        distance += squares[own]
        np.maximum(distance, 0, out=distance)  # rounding
        np.minimum(nearest, distance, out=nearest)
        nearest[own] = -1  # below every distance: none is chosen twice
    return chosen


def projected(vectors: np.ndarray) -> np.ndarray:
    """Float32 `[n, WIDTH]` by a fixed random projection, or as they are if they are no wider."""
    if vectors.shape[1] <= WIDTH:
        return vectors
    matrix = np.random.default_rng(0).normal(size=(vectors.shape[1], WIDTH)) / np.sqrt(WIDTH)
    return vectors @ matrix.astype(np.float32)
