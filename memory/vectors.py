"""The vectors of all steps in SQLite, and a vector index beside them that is only ever a cache.

Every episode that comes or goes leaves a numbered change; the index remembers the last one it has followed. A file of
it that is missing, damaged, of another store, of another embedder, ahead of SQLite or too far behind: whatever is
doubtful is thrown away and rebuilt, so a neighbour is never wrong.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from envs.component import UserError
from memory.database import Database
from memory.embedding import Embedder
from memory.index import FaissIndex, VectorIndex
from memory.index_file import Head, read_file, read_head, write_file
from memory.schema import STEP_BITS
from memory.unit_vectors import pack_vectors, unpack_vectors

_CHUNK = 512  # episodes read at once in a rebuild
_SAVE_SHARE = 0.1  # a saved index that lacks less than this is not written again yet


class Vectors:
    """Vectors by episode, and the search over their steps."""

    def __init__(self, database: Database, embedder: Embedder, index: type[VectorIndex] = FaissIndex) -> None:
        """Attach to the store; the index is loaded or built at the first search.

        Raises:
            UserError: the store's vectors were made by another embedder.
        """
        self._database = database
        self._embedder = embedder
        self._make = index
        self._path = Path(f"{database.path}.index")
        self._number = register(database, embedder)
        self._index: VectorIndex | None = None
        self._followed = 0  # the last change the index has seen
        self._saved = 0  # the last change the file has seen
        self._doubt_after: int | None = None  # count of rollbacks when changes that may be undone were followed
        self._drop_file_of_the_future()

    def put(self, episode: int, vectors: np.ndarray) -> None:
        """Store float32 `[steps, dimension]` of a new episode, rounded, in the caller's transaction."""
        self._database.execute(
            "INSERT INTO vectors (episode, embedder, data) VALUES (?, ?, ?)",
            (episode, self._number, pack_vectors(vectors)),
        )
        self._log([(episode, 1, len(vectors))])

    def drop(self, episodes: Sequence[tuple[int, int]]) -> None:
        """Forget episodes, given as (number, steps), in the caller's transaction."""
        self._database.executemany("DELETE FROM vectors WHERE episode = ?", [(number,) for number, _ in episodes])
        self._log([(number, 0, length) for number, length in episodes])

    def get(self, episode: int) -> np.ndarray:
        """Float32 `[steps, dimension]` of one episode, as `memory.unit_vectors` rounds them."""
        row = self._database.execute("SELECT data FROM vectors WHERE episode = ?", (episode,)).fetchone()
        if row is None:
            raise self._damaged(f"the vectors of episode {episode} are missing")
        return self._unpack(episode, row[0])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Nearest steps: numbers int64 `[n, k]` and cosines float32 `[n, k]`, with what was written until now."""
        return self._up_to_date().search(queries, k)

    def __len__(self) -> int:
        """Steps that can be found."""
        return len(self._up_to_date())

    def rebuild(self) -> None:
        """Make the index anew from SQLite."""
        self._index = None  # before the new one takes its room
        count = self._database.execute("SELECT sum(length) FROM episodes").fetchone()[0] or 0
        self._index = self._make.build(self._embedder.dimension, count, self._stored)
        self._followed = self._last_change()
        self._note_doubt()

    def file_state(self) -> Literal["missing", "sound", "doubtful"]:
        """What the index file is worth. A doubtful one is never believed: the next search makes it anew."""
        if not self._path.exists():
            return "missing"
        if self._load():
            return "sound"
        self._index = None
        return "doubtful"

    def discard_file(self) -> None:
        """Delete the index file, and what a kill may have left beside it."""
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink(missing_ok=True)
        self._saved = 0

    def save(self, always: bool = False) -> None:
        """Write the index file if it was used and much has changed; not in a transaction.

        This is also where an index that was outgrown is made anew: no search has to wait for that. And where nobody
        searches, as in a life, this is where changes are dropped that no file has a use for.

        Args:
            always: write whatever has changed, but make nothing anew: someone wants to leave.
        """
        if self._database.in_transaction:
            return
        if self._index is None:
            self._drop_outlived_file()
            return
        index = self._up_to_date()
        anew = index.outgrown and not always
        if anew:
            self.rebuild()
            index = self._up_to_date()
        stale = self._database.execute("SELECT sum(length) FROM changes WHERE sequence > ?", (self._saved,))
        changed = stale.fetchone()[0] or 0
        unchanged = self._saved == self._followed
        if not anew and (unchanged or (not always and changed < _SAVE_SHARE * len(index))):
            return
        write_file(self._path, self._identity() | {"sequence": self._followed, "count": len(index)}, index.write)
        self._saved = self._followed
        with self._database.transaction():
            self._database.execute("DELETE FROM changes WHERE sequence <= ?", (self._saved,))

    def _up_to_date(self) -> VectorIndex:
        if self._doubt_after is not None and self._doubt_after != self._database.rollbacks:
            self._index = None  # it has followed changes that were undone
        if self._index is None and not self._load():
            self.rebuild()
        assert self._index is not None
        self._follow(self._index)
        return self._index

    def _follow(self, index: VectorIndex) -> None:
        sql = "SELECT sequence, episode, came, length FROM changes WHERE sequence > ? ORDER BY sequence"
        rows = self._database.execute(sql, (self._followed,)).fetchall()
        if not rows:
            return
        gone = {episode: length for _, episode, came, length in rows if not came}
        new = [episode for _, episode, came, length in rows if came and episode not in gone]
        if gone:
            index.remove(np.concatenate([_step_numbers(number, length) for number, length in gone.items()]))
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            vectors = [self.get(episode) for episode in chunk]
            ids = [_step_numbers(number, len(v)) for number, v in zip(chunk, vectors, strict=True)]
            index.add(np.concatenate(ids), np.concatenate(vectors))
        self._followed = rows[-1][0]
        self._note_doubt()

    def _note_doubt(self) -> None:
        self._doubt_after = self._database.rollbacks if self._database.in_transaction else None

    def _stored(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = self._database.execute("SELECT episode, data FROM vectors ORDER BY episode")
        while chunk := rows.fetchmany(_CHUNK):
            vectors = [self._unpack(episode, data) for episode, data in chunk]
            ids = [_step_numbers(row[0], len(v)) for row, v in zip(chunk, vectors, strict=True)]
            yield np.concatenate(ids), np.concatenate(vectors)

    def _load(self) -> bool:
        """Take the index from its file; False on any doubt."""
        content = read_file(self._path, self._is_ours, self._make.read)
        if content is None:
            return False
        head, self._index = content
        self._followed = self._saved = head["sequence"]
        self._doubt_after = None
        if len(self._index) == head["count"]:
            self._follow(self._index)
            expected = self._database.execute("SELECT sum(length) FROM episodes").fetchone()[0] or 0
            return len(self._index) == expected
        return False

    def _is_ours(self, head: Head) -> bool:
        """Whether the file is of this store and this embedder, and all that it lacks is still in the table."""
        mine = all(head.get(key) == value for key, value in self._identity().items())
        return mine and self._trimmed() <= head["sequence"] <= self._last_change()

    def _drop_outlived_file(self) -> None:
        """A file that lacks more than there is takes longer to follow than to make anew; nor is there always one."""
        changed, there = (
            self._database.execute(f"SELECT coalesce(sum(length), 0) FROM {table}").fetchone()[0]
            for table in ("changes", "episodes")
        )
        if changed > there or not self._path.exists():
            self.discard_file()
            with self._database.transaction():
                self._database.execute("DELETE FROM changes")

    def _drop_file_of_the_future(self) -> None:
        """A file that is ahead of SQLite (a restored copy, a power cut) must not be believed once SQLite catches up."""
        head = read_head(self._path)
        if head is not None and not head.get("sequence", 0) <= self._last_change():
            self._path.unlink(missing_ok=True)

    def _identity(self) -> Head:
        store = self._database.execute("SELECT value FROM facts WHERE name = 'store'").fetchone()[0]
        return {"store": store, "embedder": self._embedder.version, "dimension": self._embedder.dimension}

    def _log(self, rows: Sequence[tuple[int, int, int]]) -> None:
        self._database.executemany("INSERT INTO changes (episode, came, length) VALUES (?, ?, ?)", rows)

    def _last_change(self) -> int:
        row = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        return row[0] if row else 0

    def _trimmed(self) -> int:
        """The last change that is no longer in the table."""
        first = self._database.execute("SELECT min(sequence) FROM changes").fetchone()[0]
        return self._last_change() if first is None else first - 1

    def _unpack(self, episode: int, data: bytes) -> np.ndarray:
        try:
            return unpack_vectors(data, self._embedder.dimension)
        except ValueError as error:
            raise self._damaged(f"the vectors of episode {episode} are cut short") from error

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._database.path}: {what}. Restore the file from a copy, or use another --dir.")


def register(database: Database, embedder: Embedder) -> int:
    """The number under which the store knows an embedder.

    Raises:
        UserError: the store's vectors were made by another one.
    """
    sql = "SELECT version FROM embedders WHERE number IN (SELECT embedder FROM vectors LIMIT 1)"
    used = database.execute(sql).fetchone()
    if used and used[0] != embedder.version:
        raise UserError(
            f"memory.embedder is {embedder.version}, but {database.path} holds vectors of {used[0]}: they can't be "
            "compared. Use the embedder the run began with, or make its vectors anew: holdtrue memory embed "
            f"--dir {database.path.parent}"
        )
    return known_as(database, embedder)


def known_as(database: Database, embedder: Embedder) -> int:
    """The number of an embedder, which is given one if it has none."""
    database.execute(
        "INSERT OR IGNORE INTO embedders (version, dimension) VALUES (?, ?)", (embedder.version, embedder.dimension)
    )
    return database.execute("SELECT number FROM embedders WHERE version = ?", (embedder.version,)).fetchone()[0]


def _step_numbers(episode: int, length: int) -> np.ndarray:
    return (episode << STEP_BITS) + np.arange(length, dtype=np.int64)
