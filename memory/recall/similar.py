"""Nearest to what goes wrong now: remembered episodes with steps like those of the current failures.

With nothing to compare with, nothing is drawn: in a `mixture`, the other parts get the room.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from envs.component import Settings
from envs.types import Observation
from memory.catalogue import View


class Config(Settings):
    """`queries` is how many of the given observations are looked up, drawn at random."""

    queries: int = Field(16, ge=1)

    def build(self) -> "Similar":
        return Similar(self)


class Similar:
    """Asks the vector index, in turn for each query."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def draw(self, view: View, like: Sequence[Observation], count: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.recall.Recall`."""
        if not like or count <= 0:
            return view.numbers[:0]
        some = rng.choice(len(like), size=min(self.settings.queries, len(like)), replace=False)
        return view.nearest([like[i] for i in np.sort(some)], count)
