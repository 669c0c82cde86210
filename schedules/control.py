"""What is said to a service from another terminal, and its sign of life: a small file of its own beside the run's.

The run's file is held by one process for as long as it serves. This one is opened for a moment by whoever has
something to say; nothing in it decides a result, so it may be deleted while nobody serves.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from envs.component import UserError

CONTROL = "control.db"
JUMP_SECONDS = 1.0
"""A clock that goes back by less is being set right by the system, bit by bit."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS commands (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, about TEXT NOT "
    "NULL, made_at TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Command:
    """Something a person wants: `stop`, or `cycle` with the task in `about` (empty: whichever needs it)."""

    what: str
    about: str
    made_at: str


class Control:
    """The file, open."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError where it can't be opened or is no such file."""
        path = folder / CONTROL
        try:
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            for sql in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF", *_TABLES):
                self._connection.execute(sql)
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path}: {error}. Stop the service, delete this file, and serve again.") from error

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    # -- what a person says -------------------------------------------------------------------------------------------

    def say(self, what: str, about: str, now: datetime) -> None:
        """Leave a command for the service."""
        sql = "INSERT INTO commands (what, about, made_at) VALUES (?, ?, ?)"
        self._connection.execute(sql, (what, about, now.isoformat()))

    def pause(self, why: str) -> None:
        """Nothing is lived and no cycle begins from now on; `why` is told by `status`."""
        self._note("paused", why)

    def resume(self) -> bool:
        """Go on; False if nothing was paused."""
        paused = bool(self.paused)
        self._note("paused", "")
        return paused

    # -- what the service hears and says ------------------------------------------------------------------------------

    @property
    def paused(self) -> str:
        """Why it is paused; "" if it is not."""
        return str(self._fact("paused") or "")

    def heard(self) -> Iterator[Command]:
        """Commands that were left, in order.

        Each is forgotten once it was dealt with: one that a kill came between is heard again, and a cycle that is put
        into the queue twice, for the same moment, is there once.
        """
        rows = self._connection.execute("SELECT id, what, about, made_at FROM commands ORDER BY id").fetchall()
        for number, *said in rows:
            yield Command(*said)
            self._connection.execute("DELETE FROM commands WHERE id = ?", (number,))

    def forget_stops(self) -> None:
        """A stop that was said to one who no longer serves is not meant for the next."""
        self._connection.execute("DELETE FROM commands WHERE what = 'stop'")

    def beat(self, now: datetime, doing: str) -> None:
        """Say that the service is alive, and at what."""
        known = self._fact("beat") or {}
        latest = max(now.isoformat(), known.get("latest", ""))
        self._note("beat", {"pid": os.getpid(), "at": now.isoformat(), "latest": latest, "doing": doing})

    def farewell(self) -> None:
        """Say that the service stopped."""
        self._note("beat", {**(self._fact("beat") or {}), "pid": 0, "doing": "stopped"})

    def last_beat(self) -> dict[str, Any]:
        """`pid` (0: it stopped), `at`, `latest` (the latest time ever seen), `doing`; empty if it never served."""
        return self._fact("beat") or {}

    def _fact(self, name: str) -> Any:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def _note(self, name: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


@contextmanager
def control_of(folder: Path) -> Iterator[Control]:
    """The file of a run, for a moment."""
    control = Control(folder)
    try:
        yield control
    finally:
        control.close()


def behind(beat: dict[str, Any]) -> float:
    """Seconds by which the clock is behind the latest time it ever showed; 0 where it never jumped back."""
    if not beat.get("latest"):
        return 0.0
    seconds = (datetime.fromisoformat(beat["latest"]) - datetime.fromisoformat(beat["at"])).total_seconds()
    return seconds if seconds > JUMP_SECONDS else 0.0


def alive(beat: dict[str, Any]) -> bool:
    """Whether the process that beat last is still there."""
    if not beat.get("pid"):
        return False
    try:
        os.kill(beat["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
