"""Nearest to what goes wrong now: remembered episodes with steps like those of the latest failures.

An update changes most what is answered alike, so what it may overwrite lies beside what it is about to mend. With no
failures, nothing is drawn: in a `mixture`, the other parts get the room.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from envs.component import Settings
from memory.catalogue import View
from memory.recall import NOTHING, Drawn, Failure


class Config(Settings):
    """`queries` is how many of the failures are looked up, drawn at random."""

    queries: int = Field(8, ge=1)

    def build(self) -> "Similar":
        return Similar(self)


class Similar:
    """Asks the vector index, in turn for each failure. A failed episode is not similar to itself."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def draw(self, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
        """See `memory.recall.Recall`."""
        if not like or count <= 0:
            return NOTHING
        some = rng.choice(len(like), size=min(self.settings.queries, len(like)), replace=False)
        asked = [like[i] for i in np.sort(some)]
        others = view.without(np.array([failure.number for failure in asked], np.int64))
        places, cosines, which = others.nearest(np.stack([failure.vector for failure in asked]), count)
        why = [
            f"similar: cosine {cosine:.2f} to a failure of {asked[query].task}"
            for cosine, query in zip(cosines, which, strict=True)
        ]
        return Drawn(others.numbers[places], tuple(why))
