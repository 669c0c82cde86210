"""The step from float32 vectors of any length to those of `memory.unit_vectors`, which take half the room."""

import numpy as np

from memory.database import Database
from memory.unit_vectors import pack_vectors

_CHUNK = 256  # episodes in RAM at once
_CUT_SHORT = b"\0"


def halve_vectors(database: Database) -> None:
    """Rewrite every vector, also those that a re-embedding has begun; in the transaction of a migration.

    What is no whole number of vectors becomes half a number: who reads it finds it cut short, as it would have before.
    """
    for table in ("vectors", "vectors_new"):
        there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        if database.execute(there, (table,)).fetchone():
            _halve(database, table)


def _halve(database: Database, table: str) -> None:
    sql = (
        f"SELECT episode, dimension, data FROM {table} JOIN embedders ON embedders.number = embedder "
        "WHERE episode > ? ORDER BY episode LIMIT ?"
    )
    last = -1
    while rows := database.execute(sql, (last, _CHUNK)).fetchall():
        halved = [(_halved(data, dimension), episode) for episode, dimension, data in rows]
        database.executemany(f"UPDATE {table} SET data = ? WHERE episode = ?", halved)
        last = rows[-1][0]


def _halved(data: bytes, dimension: int) -> bytes:
    if not isinstance(data, bytes) or len(data) % (4 * dimension):
        return _CUT_SHORT
    with np.errstate(invalid="ignore", over="ignore"):  # what isn't finite stays so, and is found by `verify`
        return pack_vectors(np.frombuffer(data, "<f4").reshape(-1, dimension))
