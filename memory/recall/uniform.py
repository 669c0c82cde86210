"""Each (task, success) stratum alike, at random within it: no task is forgotten for being small or old."""

from collections.abc import Sequence

import numpy as np

from envs.component import Settings
from envs.types import Observation
from memory.catalogue import View


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Uniform":
        return Uniform()


class Uniform:
    """Deals from shuffled strata in turn, in steps: a stratum of long episodes is not drawn more for it."""

    def draw(self, view: View, like: Sequence[Observation], count: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.recall.Recall`; `like` is not looked at."""
        shuffled = rng.permutation(len(view))
        order = shuffled[np.argsort(view.strata[shuffled], kind="stable")]
        strata, starts, sizes = np.unique(view.strata[order], return_index=True, return_counts=True)
        before = np.cumsum(view.length[order]) - view.length[order]
        dealt = before - np.repeat(before[starts], sizes)  # steps its stratum has given before this episode
        tie = np.repeat(rng.permutation(len(strata)), sizes)
        return view.first(order[np.lexsort((tie, dealt))], count)
