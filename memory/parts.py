"""The memory without a model: its tables as they are, for those who look, mend, forget or copy and never embed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.component import UserError
from envs.types import Observation
from memory.database import Database
from memory.episodes import Episodes
from memory.images import Pictures
from memory.pairs import Pairs
from memory.schema import MIGRATIONS
from memory.vectors import Vectors


@dataclass(frozen=True, slots=True)
class StoredEmbedder:
    """What the store's vectors were made by. Stands where an embedder's name is needed and nothing is embedded."""

    version: str
    dimension: int

    def embed(self, observations: Sequence[Observation]) -> np.ndarray:
        """Raises RuntimeError: only the embedder itself can."""
        raise RuntimeError(f"{self.version} is known by name only: {len(observations)} observations can't be embedded")


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a store, each as `ReplayMemory` has it. Nothing else may be open on the same database."""

    database: Database
    embedder: StoredEmbedder
    pictures: Pictures
    episodes: Episodes
    pairs: Pairs
    vectors: Vectors


def open_parts(database: Database) -> Parts:
    """Attach to a store that a run has begun.

    Raises:
        UserError: nothing was ever remembered there, or a newer holdtrue wrote it.
    """
    database.migrate("memory", MIGRATIONS)
    embedder = _embedder(database)
    pictures = Pictures(database)
    episodes = Episodes(database, pictures, seed=0)  # the seed matters to what is written only
    return Parts(database, embedder, pictures, episodes, Pairs(database, pictures), Vectors(database, embedder))


def _embedder(database: Database) -> StoredEmbedder:
    """That of the vectors; in an empty store the last one that was attached."""
    used = "number IN (SELECT embedder FROM vectors LIMIT 1)"
    sql = f"SELECT version, dimension FROM embedders ORDER BY {used} DESC, number DESC LIMIT 1"
    row = database.execute(sql).fetchone()
    if row is None:
        raise UserError(f"{database.path} holds no memory: its run stopped before it began. Go on with --resume.")
    return StoredEmbedder(*row)
