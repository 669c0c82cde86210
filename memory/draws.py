"""The log of draws: which remembered episodes a cycle learned from, for what, and why.

Known to this process at once, and written in the transaction that commits the cycle: a cycle that is repeated after a
kill is told once. Episodes are named by id, since one that was evicted was learned from all the same.
"""

from collections import Counter
from collections.abc import Iterable

from memory.database import Database

REHEARSAL = "rehearsal"


class Draws:
    """The table of draws. Of several draws of one episode for one use in one cycle the first is told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[tuple[int, str, str], str] = {}

    def note(self, cycle: int, use: str, drawn: Iterable[tuple[str, str]]) -> None:
        """Episodes, as (id, why), were drawn in `cycle` for `use`, a word such as `rehearsal` or `wrong images`."""
        for episode, why in drawn:
            self._waiting.setdefault((cycle, use, episode), why)

    def counts(self) -> dict[str, int]:
        """How many episodes each strategy drew for rehearsal since the last commit."""
        kinds = (why.split(":")[0] for (_, use, _), why in self._waiting.items() if use == REHEARSAL)
        return dict(sorted(Counter(kinds).items()))

    def waiting(self, cycle: int) -> list[tuple[str, str]]:
        """(use, id) of what a cycle that is not committed yet has drawn."""
        return [(use, episode) for of, use, episode in self._waiting if of == cycle]

    def write(self) -> None:
        """Put what was noted into the table, in the caller's transaction."""
        self._database.executemany(
            "INSERT INTO drawn (cycle, episode, use, why) VALUES (?, ?, ?, ?)",
            [(cycle, episode, use, why) for (cycle, use, episode), why in self._waiting.items()],
        )
        self._waiting = {}

    def forget_after(self, cycle: int) -> None:
        """Draws of later cycles never were; in the caller's transaction."""
        self._database.execute("DELETE FROM drawn WHERE cycle > ?", (cycle,))
        self._waiting = {}
