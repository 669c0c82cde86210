"""The same room for each (task, success) stratum; within one, a uniform sample of all that ever came.

A stratum that does not need its room leaves it to the others. So a task of long ago keeps its place beside the one that
is played every cycle, and rare successes (or failures) keep theirs.
"""

import numpy as np

from envs.component import Settings
from memory.catalogue import View


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Balanced":
        return Balanced()


class Balanced:
    """Keeps the highest priorities of each stratum."""

    def keep(self, view: View, capacity: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.retention.Retention`; `rng` decides which strata get what cannot be divided."""
        order = np.lexsort((-view.priority, view.strata))
        strata, starts, counts = np.unique(view.strata[order], return_index=True, return_counts=True)
        room = shares(counts, capacity, rng.permutation(len(strata)))
        place = np.arange(len(order)) - np.repeat(starts, counts)
        return view.numbers[order[place < np.repeat(room, counts)]]


def shares(counts: np.ndarray, capacity: int, order: np.ndarray) -> np.ndarray:
    """How many of each to keep: as equal as `counts` allow, the indivisible rest by `order`.

    >>> shares(np.array([9, 1, 9]), 8, np.array([2, 0, 1])).tolist()
    [3, 1, 4]
    """
    room = np.zeros_like(counts)
    while (left := capacity - int(room.sum())) > 0 and (open_ := counts > room).any():
        each = left // int(open_.sum())
        if each == 0:
            room[[i for i in order if open_[i]][:left]] += 1
            break
        room = np.minimum(counts, room + each * open_)
    return room
