"""How unlike anything remembered an observation is: its distance to the nearest of a bounded part of memory.

Of the steps that fit, up to `MOST` are all compared with, one by one. Beyond that a part of them stands for the rest,
so that a step of a life costs as much after weeks as on its first day: each episode gives as many steps as make all
fit, a longer one no more than the next, spread evenly. Where `EACH` of each are too many, episodes are left out: they
come by their priority (a hash of the id), tasks in turn. Which they are follows from what is remembered alone, not from
the order of arrival. What is seen so, and what by all that is remembered, stands in docs/judging/drift.md.

Where episodes are left out, an eviction by the retention `balanced` leaves the part as it is, as long as no fewer of
each (task, success) stay than are in it, since it drops the lowest priorities of each; `reservoir` drops those of all,
so the same holds for each task. `rewarded` and `coverage` go by returns and by vectors: they may change much of it.
"""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from memory.catalogue import Catalogue
from memory.database import Database
from memory.index import FaissIndex
from memory.vectors import Vectors

MOST = 4096
"""Steps that an observation is compared with. `FaissIndex` compares with so few one by one."""
EACH = 32
"""Steps that an episode gives at the least, all of a shorter one, or it is left out: never a few long ones alone."""
FURTHEST = 2.0
"""1 - cosine of opposite vectors: what is compared with nothing is as new as anything can be."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What stands for the steps of cycles before `before_cycle`."""

    before_cycle: int | None
    index: FaissIndex


class Known:
    """The part of memory that is compared with, for each choice of tasks that was asked for.

    It is read anew only after an episode that fits came, or any went: what a life adds belongs to no earlier cycle, and
    leaves it as it is.
    """

    def __init__(self, database: Database, catalogue: Catalogue, vectors: Vectors, dimension: int) -> None:
        self._database = database
        self._catalogue = catalogue
        self._vectors = vectors
        self._dimension = dimension
        self._parts: dict[frozenset[str] | None, _Part] = {}
        self._rollbacks = database.rollbacks

    def novelty(
        self, vectors: np.ndarray, k: int, tasks: Collection[str] | None, before_cycle: int | None
    ) -> np.ndarray:
        """Mean of 1 - cosine to the `k` nearest, float32 `[n]` in 0..2: 0 for what is remembered as it is.

        Where there are fewer than `k`, those are compared with; where there is none it is `FURTHEST`: finite, so that a
        mean or a drift detector may go on with it.

        Args:
            vectors: float32 `[n, dimension]`.
            k: how many remembered steps each is compared with.
            tasks, before_cycle: steps of these only, and of cycles before this one; None means all.

        Raises:
            ValueError: `k` is less than 1, or a vector is not finite or of the wrong length.
        """
        if k < 1:
            raise ValueError(f"k is {k}: compare with 1 or more")
        _, cosines = self.index(tasks, before_cycle).search(vectors, k)
        if not cosines.shape[1]:
            return np.full(len(cosines), FURTHEST, np.float32)
        return np.clip((1 - cosines.mean(axis=1, dtype=np.float64)).astype(np.float32), 0, FURTHEST)

    def index(self, tasks: Collection[str] | None, before_cycle: int | None) -> FaissIndex:
        """What is compared with, at most `MOST` steps, counted from 0."""
        if self._rollbacks != self._database.rollbacks:
            self.went()
        key = None if tasks is None else frozenset(tasks)
        part = self._parts.get(key)
        if part is None or part.before_cycle != before_cycle:
            part = self._parts[key] = _Part(before_cycle, self._read(tasks, before_cycle))
        return part.index

    def came(self, task: str, cycle: int) -> None:
        """An episode came: what it fits is to be read anew."""
        self._parts = {
            key: part
            for key, part in self._parts.items()
            if (key is not None and task not in key) or (part.before_cycle is not None and cycle >= part.before_cycle)
        }

    def went(self) -> None:
        """Episodes went: all is to be read anew."""
        self._parts = {}
        self._rollbacks = self._database.rollbacks

    def _read(self, tasks: Collection[str] | None, before_cycle: int | None) -> FaissIndex:
        columns = self._catalogue.columns()
        mine = np.flatnonzero(self._catalogue.comparable(tasks, before_cycle))
        task, priority, length = (columns[name][mine] for name in ("task", "priority", "length"))
        places, counts = thinned(task, priority, length)
        index = FaissIndex(self._dimension)
        parts = [np.empty((0, self._dimension), np.float32)]
        for number, count in zip(columns["number"][mine[places]].tolist(), counts.tolist(), strict=True):
            steps = self._vectors.get(number)
            parts.append(steps[np.linspace(0, len(steps) - 1, count).round().astype(np.int64)])
        vectors = np.concatenate(parts)
        index.add(np.arange(len(vectors)), vectors)
        return index


def thinned(task: np.ndarray, priority: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of `n` episodes, in order of arrival, stand for all, and with how many steps each.

    Args:
        task: of each, int64 `[n]`.
        priority: float64 `[n]`; those of a task come by the highest first.
        length: steps, int64 `[n]`, 1 or more.

    Returns:
        Their places, int64 `[m]` ascending, and counts of steps, int64 `[m]`: together `MOST` at the most, and less
        than `MOST` / `EACH` below it where all have more, so that an episode more never empties the room.
    """
    if length.sum() <= MOST:
        return np.arange(len(length)), length
    more = range(EACH + 1, int(length.max()))
    each = EACH + bisect_right(more, MOST, key=lambda steps: int(np.minimum(length, steps).sum()))
    count = np.minimum(length, each)
    order = np.lexsort((-priority, task))
    _, starts, counts = np.unique(task[order], return_index=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(starts, counts)
    order = order[np.lexsort((-priority[order], turn))]  # tasks are numbered by arrival, so that may decide nothing
    places = np.sort(order[np.cumsum(count[order]) <= MOST])
    return places, count[places]
