"""Each (task, success) stratum alike, at random within it: no task is forgotten for being small or old."""

from collections.abc import Sequence

import numpy as np

from envs.component import Settings
from memory.catalogue import View
from memory.recall import NOTHING, Drawn, Failure


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Uniform":
        return Uniform()


class Uniform:
    """Deals from shuffled strata in turn, in steps: a stratum of long episodes is not drawn more for it."""

    def draw(self, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
        """See `memory.recall.Recall`; `like` is not looked at."""
        if not len(view) or count <= 0:
            return NOTHING
        order = view.shuffled_by(view.strata, rng)
        strata, starts, sizes = _runs(view.strata[order])
        place = np.arange(len(order)) - np.repeat(starts, sizes)
        tie = np.repeat(rng.permutation(len(strata)), sizes)
        before = np.cumsum(view.length[order]) - view.length[order]
        dealt = before - np.repeat(before[starts], sizes)  # steps its stratum has given before this episode
        near = np.flatnonzero(place < count)  # no stratum gives more episodes than that: the rest needs no sorting
        places = view.first(order[near[np.lexsort((tie[near], dealt[near]))]], count)
        return Drawn(view.numbers[places], tuple(f"uniform: {view.stratum(place)}" for place in places))


def _runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What occurs, where it begins and how often, without sorting again."""
    starts = np.flatnonzero(np.diff(ascending, prepend=ascending[0] - 1))
    return ascending[starts], starts, np.diff(starts, append=len(ascending))
