"""What annotators have said, in the run's file: nobody is asked twice, and it can be looked up and forgotten."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from memory.database import Database

_CHUNK = 500  # values in one SQL list
_INSERT = "INSERT OR IGNORE INTO judgements (key, source, task, cycle, episodes, margin) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One opinion on two answers to one observation.

    Attributes:
        key: names who judged and what was shown, 16 bytes: the same question to the same judge has the same key.
        source: the annotator's name.
        episodes: ids of those whose answers were judged.
        margin: how much better the first answer is than the second, in the annotator's unit; None: no opinion.
    """

    key: bytes
    source: str
    task: str
    cycle: int
    episodes: tuple[str, ...]
    margin: float | None


class Judgements:
    """The table of judgements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, judgements: Sequence[Judgement]) -> None:
        """Store what is not there yet, in one transaction."""
        with self._database.transaction():
            self._database.executemany(
                _INSERT, [(j.key, j.source, j.task, j.cycle, json.dumps(j.episodes), j.margin) for j in judgements]
            )

    def find(self, keys: Sequence[bytes]) -> dict[bytes, float | None]:
        """Margins of those keys that were judged; None where there was no opinion."""
        found: dict[bytes, float | None] = {}
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            sql = f"SELECT key, margin FROM judgements WHERE key IN ({','.join('?' * len(chunk))})"
            found.update(self._database.execute(sql, chunk).fetchall())
        return found

    def forget_after(self, cycle: int) -> None:
        """Delete those of later cycles, in the caller's transaction."""
        self._database.execute("DELETE FROM judgements WHERE cycle > ?", (cycle,))

    def forget_gone(self, cycles: Sequence[int]) -> None:
        """Delete those whose episodes are all gone, when episodes of these cycles went, in the caller's transaction.

        Of these cycles or earlier: so what once stayed behind goes too.
        """
        sql = (
            "DELETE FROM judgements WHERE cycle <= ? AND NOT EXISTS (SELECT 1 FROM json_each(judgements.episodes) "
            "JOIN episodes ON episodes.id = json_each.value)"
        )
        self._database.execute(sql, (max(cycles, default=-1),))
