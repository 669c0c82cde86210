"""What is kept of a life beside its episodes: numbers, alarms, how far it has come. Tables in the run's own file.

All of a batch is written in the transaction that remembers its episodes. Rows of what was lived before the last
promotion are dropped, and of a stretch that has ended (`schedules.watch.stretch`); from the others the watch is brought
back.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from memory.database import Database
from schedules.lived import Lived, pack_centre, unpack_centre
from schedules.triggers import LATEST
from schedules.watch import Alarm, first_of, stretch

ALARMS_KEPT = 1000
LATE = 64
"""Episodes of a task by which one tells how it goes of late."""
HEARD = "heard"
"""The fact that keeps the number of the newest alarm at the last promotion: a new champion answers for no older one."""
MIGRATIONS = [
    [
        "CREATE TABLE life_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE life_begun (regime TEXT PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID",
        # place: the order in which they ended; number: of the whole life
        "CREATE TABLE life_lived (place INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, episode TEXT NOT "
        "NULL, task TEXT NOT NULL, regime TEXT NOT NULL, reward REAL NOT NULL, novelty REAL, centre BLOB)",
        "CREATE INDEX life_lived_by_regime ON life_lived (regime, place)",
        "CREATE TABLE life_alarms (number INTEGER PRIMARY KEY AUTOINCREMENT, made_at TEXT NOT NULL, regime TEXT NOT "
        "NULL, alarm TEXT NOT NULL)",
    ],
    # by the order they began in: by that of their ends, the first to be read would be the short ones
    ["CREATE INDEX life_lived_by_number ON life_lived (regime, number)", "DROP INDEX life_lived_by_regime"],
]


@dataclass(frozen=True, slots=True)
class Come:
    """How far a life has come.

    Attributes:
        next: number of the first episode that was not lived yet.
        ahead: numbers beyond it that were.
        lived: episodes by regime.
        first: by regime, the number of the first episode that goes on in its slot (`schedules.serving.slot`); none
            where nothing older than the newest does.
    """

    next: int = 1
    ahead: tuple[int, ...] = ()
    lived: Mapping[str, int] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Episodes lived."""
        return sum(self.lived.values())

    @property
    def newest(self) -> int:
        """Number of the newest episode lived; below it some may still be going on."""
        return max(self.ahead, default=self.next - 1)

    @property
    def going_on(self) -> list[int]:
        """Numbers below the newest that were not lived yet, in order."""
        ahead = set(self.ahead)
        return [number for number in range(self.next, self.newest) if number not in ahead]

    def until(self, regime: str) -> int:
        """What lies before this number in the regime's slot has ended: it can be looked at in order."""
        return self.first.get(regime, self.newest + 1)

    def after(self, numbers: Sequence[int], regimes: Sequence[str]) -> "Come":
        """After these episodes more; which are the first that go on is for `schedules.in_order.placed` to say."""
        ahead, first = {*self.ahead, *numbers}, self.next
        while first in ahead:
            ahead.remove(first)
            first += 1
        return Come(first, tuple(sorted(ahead)), dict(Counter(self.lived) + Counter(regimes)))


class Diary:
    """The tables of a life, read and written by the thread that lives."""

    def __init__(self, database: Database) -> None:
        self.database = database
        database.migrate("life", MIGRATIONS)

    def come(self) -> Come:
        """How far it has come."""
        return come_of(self.database)

    def fact(self, name: str) -> Any:
        """Something noted before; None if it was not."""
        return _fact(self.database, name)

    def note(self, name: str, value: Any) -> None:
        """Note something, in place of what was noted under this name."""
        self.database.execute("INSERT OR REPLACE INTO life_facts VALUES (?, ?)", (name, json.dumps(value)))

    def write(
        self, come: Come, lived: Sequence[tuple[str, Lived]], alarms: Sequence[tuple[str, Alarm]], now: datetime
    ) -> None:
        """A batch, in the caller's transaction; what was lived and what was heard, each with its regime."""
        ended = stretch(come.next) > stretch(self.come().next)
        self.note("come", asdict(come))
        self.database.executemany(
            "INSERT INTO life_lived (number, episode, task, regime, reward, novelty, centre) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(x.number, x.episode, x.task, regime, x.reward, x.novelty, _packed(x)) for regime, x in lived],
        )
        self.database.executemany(
            "INSERT INTO life_alarms (made_at, regime, alarm) VALUES (?, ?, ?)",
            [(now.isoformat(), regime, json.dumps(asdict(alarm))) for regime, alarm in alarms],
        )
        oldest = "(SELECT max(number) FROM life_alarms) - ?"
        self.database.execute(f"DELETE FROM life_alarms WHERE number <= {oldest}", (ALARMS_KEPT,))
        if ended:
            self._forget_before(come.next)

    def _forget_before(self, number: int) -> None:
        """Drop the stretches before that of this number: all of them was lived, and the watch has begun anew."""
        self.database.execute("DELETE FROM life_lived WHERE number < ?", (first_of(stretch(number)),))

    def since_reset(self) -> list[tuple[str, Lived]]:
        """What is kept of what was lived since the last promotion, with its regime, in the order it ended in."""
        rows = self.database.execute(
            "SELECT regime, number, episode, task, reward, novelty, centre FROM life_lived ORDER BY place"
        )
        return [
            (regime, Lived(number, episode, task, reward, novelty, None if centre is None else unpack_centre(centre)))
            for regime, number, episode, task, reward, novelty, centre in rows
        ]

    def alarms(self) -> list[Alarm]:
        """Those that are kept, in order."""
        rows = self.database.execute("SELECT alarm FROM life_alarms ORDER BY number").fetchall()
        told = [json.loads(alarm) for (alarm,) in rows]
        return [Alarm(**{**one, "novel": tuple(one["novel"])}) for one in told]

    def fallen(self) -> dict[str, float | None]:
        """How far success by task, over the last `LATE` episodes, lies below what it was since the last promotion.

        In -1..1; None where there are not yet as many before them. In the order they began in, as the watch sees them.
        """
        told: dict[str, list[float]] = {}
        come, sql = self.come(), "SELECT task, regime, number, reward FROM life_lived ORDER BY number"
        for task, regime, number, reward in self.database.execute(sql):
            if number < come.until(regime):
                told.setdefault(task, []).append(reward)
        return {
            task: sum(rewards[:-LATE]) / (len(rewards) - LATE) - sum(rewards[-LATE:]) / LATE
            if len(rewards) >= 2 * LATE
            else None
            for task, rewards in told.items()
        }

    def promoted(self) -> None:
        """In the transaction that makes another champion: what was seen and heard was of the one before."""
        self.note(HEARD, self.mark()["alarm"])
        self.database.execute("DELETE FROM life_lived")

    def mark(self) -> dict[str, Any]:
        """Where everything stands now, so that it can be counted from here on."""
        return mark(self.database)

    def begun(self) -> dict[str, int]:
        """The rows of the score matrix in which regimes that replace others began."""
        return dict(self.database.execute("SELECT regime, row FROM life_begun").fetchall())

    def begin(self, regimes: Sequence[str], row: int) -> None:
        """These begin with this row."""
        with self.database.transaction():
            self.database.executemany("INSERT INTO life_begun VALUES (?, ?)", [(regime, row) for regime in regimes])


# What triggers are told is read by two threads, each through a connection of its own: functions of that connection.


def come_of(store: Any) -> Come:
    """How far a life has come."""
    told = _fact(store, "come") or {}
    return Come(told.get("next", 1), tuple(told.get("ahead", ())), told.get("lived", {}), told.get("first", {}))


def mark(store: Any) -> dict[str, Any]:
    """The numbers of the last of everything, episodes by regime, and until where each can be looked at."""
    come = come_of(store)
    newest = {
        name: store.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()[0]
        for name, table in (("alarm", "life_alarms"), ("judgement", "judgements"))
    }
    return {"lived": come.lived, "until": {name: come.until(name) for name in come.lived}, **newest}


def since(store: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """What happened since a mark, as the fields of `schedules.triggers.Status`; alarms since a promotion only."""
    now = mark(store)
    looked = before.get("until", {})  # a mark of an older file has none
    lived = {name: count - before["lived"].get(name, 0) for name, count in now["lived"].items()}
    alarms = store.execute(
        "SELECT regime, json_extract(alarm, '$.sentence') FROM life_alarms WHERE number > ? ORDER BY number",
        (max(before["alarm"], _fact(store, HEARD) or 0),),
    ).fetchall()
    judged = store.execute(
        "SELECT source, count(*) FROM judgements WHERE number > ? GROUP BY source", (before["judgement"],)
    ).fetchall()
    outcomes = {
        name: tuple(
            bool(reward)
            for (reward,) in store.execute(
                "SELECT reward FROM life_lived WHERE regime = ? AND number >= ? AND number < ? "
                f"ORDER BY number DESC LIMIT {LATEST}",
                (name, looked.get(name, 1), now["until"][name]),
            )
        )[::-1]
        for name in lived
    }
    return {
        "episodes": {name: count for name, count in lived.items() if count},
        "alarms": tuple(alarms),
        "outcomes": {name: told for name, told in outcomes.items() if told},
        "judgements": dict(judged),
    }


def _fact(store: Any, name: str) -> Any:
    row = store.execute("SELECT value FROM life_facts WHERE name = ?", (name,)).fetchone()
    return json.loads(row[0]) if row else None


def _packed(lived: Lived) -> bytes | None:
    return None if lived.centre is None else pack_centre(lived.centre)
