"""Longest unseen first: what was neither played nor rehearsed for the most cycles; ties at random."""

from collections.abc import Sequence

import numpy as np

from envs.component import Settings
from memory.catalogue import View
from memory.recall import Drawn, Failure


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Age":
        return Age()


class Age:
    """Orders by the cycle in which an episode was last seen."""

    def draw(self, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
        """See `memory.recall.Recall`; `like` is not looked at."""
        places = view.first(view.shuffled_by(view.seen, rng), count)
        return Drawn(view.numbers[places], tuple(f"age: unseen since cycle {cycle}" for cycle in view.seen[places]))
