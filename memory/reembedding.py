"""Vectors made anew by another embedder: beside the old ones, batch by batch, then put in their place at once.

Until the switch the store holds the old embedder's vectors and works with it as ever: episodes may come and go. Killed
at any moment, the next one goes on where this one was. After the switch nothing of the old embedder is left.
"""

from collections.abc import Iterator

import numpy as np

from memory.codec import pack_floats
from memory.database import Database
from memory.embedding import Embedder, embed_steps
from memory.episodes import Episodes
from memory.images import Pictures
from memory.schema import MIGRATIONS, VECTORS
from memory.vectors import known_as

BATCH_STEPS = 256
_LISTED = 512  # episodes looked up at once
_LEFT = "number > (SELECT coalesce(max(episode), 0) FROM vectors_new)"  # they are done in order, and new ones come last
_FOLLOW = (  # who is evicted or forgotten meanwhile, is forgotten here too; it goes with the old table
    "CREATE TRIGGER IF NOT EXISTS vectors_follow AFTER DELETE ON vectors "
    "BEGIN DELETE FROM vectors_new WHERE episode = old.episode; END"
)


class Reembedding:
    """The way of one store from whatever embedder made its vectors to this one; nothing else may use it meanwhile."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        """Attach to the store, and throw away what was begun with a third embedder.

        Raises:
            UserError: the store is of a newer version.
        """
        self._database = database
        self._embedder = embedder
        database.migrate("memory", MIGRATIONS)
        self._episodes = Episodes(database, Pictures(database), seed=0)
        with database.transaction():
            self._number = known_as(database, embedder)
            others = "SELECT 1 FROM vectors_new WHERE embedder <> ? LIMIT 1"
            if self._begun() and database.execute(others, (self._number,)).fetchone():
                database.execute("DROP TRIGGER vectors_follow")
                database.execute("DROP TABLE vectors_new")

    @property
    def needed(self) -> bool:
        """Whether the store's vectors are another embedder's."""
        sql = "SELECT 1 FROM vectors WHERE embedder <> ? LIMIT 1"
        return self._database.execute(sql, (self._number,)).fetchone() is not None

    def work(self) -> Iterator[tuple[int, int]]:
        """Embed what is not embedded yet; each batch is safe once it is yielded.

        Yields:
            Episodes that have their new vectors, and all there are: at the start, and after each batch.

        Raises:
            UserError: a picture is missing or damaged, or the disk is full.
            ValueError: the embedder gave vectors of the wrong shape, or some that are not finite.
        """
        with self._database.transaction():
            self._database.execute(f"CREATE TABLE IF NOT EXISTS vectors_new {VECTORS}")
            self._database.execute(_FOLLOW)
        total = self._database.execute("SELECT count(*) FROM episodes").fetchone()[0]
        left = self._database.execute(f"SELECT count(*) FROM episodes WHERE {_LEFT}").fetchone()[0]
        yield total - left, total
        while batch := self._next_batch():
            self._embed(batch)
            left -= len(batch)
            yield total - left, total

    def switch(self) -> None:
        """Let the new vectors take the place of the old ones; in the caller's transaction, after all `work`.

        Raises:
            RuntimeError: some episode has no new vectors.
        """
        with self._database.transaction():
            if self._begun() and not self._next_batch():
                self._database.execute("DROP TABLE vectors")
                self._database.execute("ALTER TABLE vectors_new RENAME TO vectors")
                # every vector came anew: whoever follows the changes, takes all of them
                self._database.execute(
                    "INSERT INTO changes (episode, came, length) SELECT number, 1, length FROM episodes ORDER BY number"
                )
            elif self.needed:
                raise RuntimeError("some episodes have no new vectors yet: finish `work` before the switch")
            self._database.execute("DELETE FROM embedders WHERE number <> ?", (self._number,))

    def _begun(self) -> bool:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'vectors_new'"
        return self._database.execute(sql).fetchone() is not None

    def _next_batch(self) -> list[int]:
        """Numbers of episodes without new vectors, in order, of `BATCH_STEPS` steps together or one alone."""
        rows = self._database.execute(
            f"SELECT number, length FROM episodes WHERE {_LEFT} ORDER BY number LIMIT ?", (_LISTED,)
        ).fetchall()
        steps = np.cumsum([length for _, length in rows])
        count = max(1, int((steps <= BATCH_STEPS).sum()))
        return [number for number, _ in rows[:count]]

    def _embed(self, numbers: list[int]) -> None:
        episodes = self._episodes.read(numbers)
        dimension, steps = self._embedder.dimension, sum(len(episode.steps) for episode in episodes)
        matrix = embed_steps(self._embedder, episodes)
        if np.shape(matrix) != (steps, dimension) or not np.isfinite(matrix).all():
            raise ValueError(
                f"memory.embedder {self._embedder.version}: vectors must be finite [{steps}, {dimension}], these "
                f"are {list(np.shape(matrix))}"
            )
        ends = np.cumsum([len(episode.steps) for episode in episodes])
        rows = zip(numbers, np.split(matrix, ends[:-1]), strict=True)
        with self._database.transaction():
            self._database.executemany(
                "INSERT INTO vectors_new (episode, embedder, data) VALUES (?, ?, ?)",
                [(number, self._number, pack_floats(vectors)) for number, vectors in rows],
            )
