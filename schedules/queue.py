"""Cycles that are due: a table in the run's own file, so that a cycle's commit and its being done are one transaction.

Two threads put rows in, each through a connection of its own; only the thread that owns the run takes them out.
Whatever a trigger counts begins anew in the transaction that makes it due: nothing is due twice, whoever looks, and
whenever either is killed. While a cycle of a trigger waits, that trigger makes no other due: what comes is taken
together with the next one, and the reason says so.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from memory.database import Database
from schedules import diary
from schedules.serving import ALARMED, TriggerPlan, regimes_of
from schedules.triggers import Status, Trigger, build_trigger

PERSON = "a person"
WAIT_SECONDS = 60.0
"""For a transaction of the other thread to end."""
MIGRATIONS = [
    [
        "CREATE TABLE loop_queue (id INTEGER PRIMARY KEY AUTOINCREMENT, trigger TEXT NOT NULL, made_at TEXT NOT NULL, "
        "due_at TEXT NOT NULL, task TEXT NOT NULL, plan TEXT NOT NULL, reason TEXT NOT NULL, "
        "state TEXT NOT NULL DEFAULT 'due', cycle INTEGER, UNIQUE (trigger, due_at))",
        # what each trigger counts from: when, and where everything stood
        "CREATE TABLE loop_triggers (name TEXT PRIMARY KEY, since TEXT NOT NULL, mark TEXT NOT NULL) WITHOUT ROWID",
    ],
    # asked at every tick of a life, also after thousands of cycles
    ["CREATE INDEX loop_queue_by_state ON loop_queue (state)"],
]


class Store(Protocol):
    """An open file: the run's own `Database`, or a `SideDoor` of another thread."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""
        ...


class SideDoor:
    """A second connection, for the thread that only makes cycles due, in the process that holds the run's lock."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """See `Store`."""
        return self._connection.execute(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Store`."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Due:
    """A cycle that is due."""

    id: int
    trigger: str
    task: str
    update: Mapping[str, Any]
    reason: str


def migrate(database: Database) -> None:
    """Make the tables."""
    database.migrate("queue", MIGRATIONS)


class Triggers:
    """Looks whether a cycle is due, and puts it into the queue; one for each thread, by its own connection."""

    def __init__(self, store: Store, plans: Sequence[TriggerPlan], started: datetime) -> None:
        """`started`: when this process began to serve."""
        self._store = store
        self._started = started
        self._plans: list[tuple[TriggerPlan, Trigger]] = [(plan, build_trigger(plan.when)) for plan in plans]

    def look(self, now: datetime) -> list[str]:
        """Make due what is; the reasons of what was put into the queue."""
        return [told for plan, trigger in self._plans if (told := self._look(plan, trigger, now))]

    def _look(self, plan: TriggerPlan, trigger: Trigger, now: datetime) -> str:
        if self._mark(plan) is None:
            self._begin(plan, now)
        if self._waits(plan) or not trigger.due(self._seen(plan, now)):
            return ""
        with self._store.transaction():  # and once more, with the other thread kept out
            status = self._seen(plan, now)
            reason = None if self._waits(plan) else trigger.due(status)
            if not reason:
                return ""
            task = plan.task if plan.task != ALARMED else worst(status, regimes_of(plan.when))
            if not put(self._store, plan.called, task, plan.update, reason, now):
                return ""
            self._count_from(plan, now)
        return reason

    def _begin(self, plan: TriggerPlan, now: datetime) -> None:
        with self._store.transaction():
            if self._mark(plan) is None:
                self._count_from(plan, now)

    def _count_from(self, plan: TriggerPlan, now: datetime) -> None:
        row = (plan.called, now.isoformat(), json.dumps(diary.mark(self._store)))
        self._store.execute("INSERT OR REPLACE INTO loop_triggers VALUES (?, ?, ?)", row)

    def _seen(self, plan: TriggerPlan, now: datetime) -> Status:
        row = self._mark(plan)
        assert row is not None
        return Status(
            now, datetime.fromisoformat(row[0]), self._started, **diary.since(self._store, json.loads(row[1]))
        )

    def _mark(self, plan: TriggerPlan) -> tuple[str, str] | None:
        """Since when it counts, and from where; None before its first look."""
        sql = "SELECT since, mark FROM loop_triggers WHERE name = ?"
        row: tuple[str, str] | None = self._store.execute(sql, (plan.called,)).fetchone()
        return row

    def _waits(self, plan: TriggerPlan) -> bool:
        sql = "SELECT 1 FROM loop_queue WHERE trigger = ? AND state = 'due'"
        return self._store.execute(sql, (plan.called,)).fetchone() is not None


def worst(status: Status, among: Collection[str] = ()) -> str:
    """The regime of the last alarm; else the one that went worst; else nothing: whatever is lived in.

    Args:
        among: the regimes that may be it; none where all may.
    """
    alarmed = [name for name, _ in status.alarms if not among or name in among]
    if alarmed:
        return alarmed[-1]
    means = {name: sum(told) / len(told) for name, told in status.outcomes.items() if not among or name in among}
    return min(means, key=lambda name: means[name], default="")


def put(store: Store, trigger: str, task: str, update: Mapping[str, Any], reason: str, now: datetime) -> bool:
    """Put a cycle into the queue; False if one of this trigger was due at this very moment before."""
    values = (trigger, now.isoformat(), now.isoformat(), task, json.dumps(dict(update)), reason)
    sql = "INSERT OR IGNORE INTO loop_queue (trigger, made_at, due_at, task, plan, reason) VALUES (?, ?, ?, ?, ?, ?)"
    return store.execute(sql, values).rowcount == 1


def first_due(store: Store) -> Due | None:
    """The cycle that has been due for longest."""
    sql = "SELECT id, trigger, task, plan, reason FROM loop_queue WHERE state = 'due' ORDER BY id LIMIT 1"
    row = store.execute(sql).fetchone()
    return Due(row[0], row[1], row[2], json.loads(row[3]), row[4]) if row else None


def done(store: Store, id: int, cycle: int) -> None:
    """It was run as this cycle; called inside the transaction that commits it."""
    store.execute("UPDATE loop_queue SET state = 'done', cycle = ? WHERE id = ?", (cycle, id))
