"""Longest unseen first: what was neither played nor rehearsed for the most cycles; ties at random."""

from collections.abc import Sequence

import numpy as np

from envs.component import Settings
from envs.types import Observation
from memory.catalogue import View


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Age":
        return Age()


class Age:
    """Orders by the cycle in which an episode was last seen."""

    def draw(self, view: View, like: Sequence[Observation], count: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.recall.Recall`; `like` is not looked at."""
        return view.first(np.lexsort((rng.permutation(len(view)), view.seen)), count)
