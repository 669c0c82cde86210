"""A life from its start, for the picture of its drift. Thinned as it grows: the story of months is a few thousand rows.

The rows that the watch is brought back from go at every promotion; these stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memory.database import Database
from schedules.config import StreamSettings
from schedules.diary import Come
from schedules.lived import Lived
from schedules.serving import slot
from schedules.watch import Alarm

MOST = 8192
"""Rows kept. Beyond it every other one goes, and from then on half as many are written."""
MIGRATIONS = [
    [
        "CREATE TABLE story_lived (number INTEGER PRIMARY KEY, episode TEXT NOT NULL, task TEXT NOT NULL, "
        "reward REAL NOT NULL, novelty REAL)",
        "CREATE TABLE story_promotions (number INTEGER PRIMARY KEY)",
        "CREATE TABLE story_stride (stride INTEGER NOT NULL)",
        "INSERT INTO story_stride VALUES (1)",
    ],
    ["CREATE TABLE story_rollbacks (number INTEGER PRIMARY KEY)"],
]


@dataclass(frozen=True, slots=True)
class Told:
    """What `schedules.drift_figure.drift_timeline` draws."""

    lived: Sequence[Lived]
    alarms: Sequence[Alarm]
    promotions: Sequence[int]
    rollbacks: Sequence[int]
    drifts: Mapping[str, Sequence[int]]


class Story:
    """The tables of it, written in the transactions of a life and of its cycles."""

    def __init__(self, database: Database) -> None:
        self.database = database
        database.migrate("story", MIGRATIONS)

    def write(self, lived: Sequence[Lived]) -> None:
        """A batch; in the transaction that remembers its episodes."""
        (stride,) = self.database.execute("SELECT stride FROM story_stride").fetchone()
        rows = [(x.number, x.episode, x.task, x.reward, x.novelty) for x in lived if x.number % stride == 0]
        self.database.executemany("INSERT OR IGNORE INTO story_lived VALUES (?, ?, ?, ?, ?)", rows)
        (newest,) = self.database.execute("SELECT max(number) FROM story_lived").fetchone()
        if newest is not None and newest > MOST * stride:  # as many rows at the most, and none was counted
            self.database.execute("UPDATE story_stride SET stride = 2 * stride")
            self.database.execute("DELETE FROM story_lived WHERE number % ? <> 0", (2 * stride,))

    def promoted(self, come: Come) -> None:
        """A champion took over when life had come so far; in the transaction of its cycle."""
        self.database.execute("INSERT OR IGNORE INTO story_promotions VALUES (?)", (come.newest,))

    def rolled_back(self, come: Come) -> None:
        """A champion of before is there again; in the transaction of the rollback."""
        self.database.execute("INSERT OR IGNORE INTO story_rollbacks VALUES (?)", (come.newest,))

    def told(self, alarms: Sequence[Alarm], stream: StreamSettings) -> Told:
        """All of it, with alarms that were kept and the drift that the stream planned."""
        rows = self.database.execute("SELECT number, episode, task, reward, novelty FROM story_lived ORDER BY number")
        lived = [Lived(*row) for row in rows.fetchall()]
        promotions, rollbacks = self._marks("story_promotions"), self._marks("story_rollbacks")
        return Told(lived, alarms, promotions, rollbacks, drift_points(stream))

    def _marks(self, table: str) -> list[int]:
        return [number for (number,) in self.database.execute(f"SELECT number FROM {table} ORDER BY number")]


def drift_points(stream: StreamSettings) -> dict[str, list[int]]:
    """Numbers of the first episodes in a changed world, by what is lived in there (`schedules.serving.slot`)."""
    replaces = {name: regime.replaces for name, regime in stream.regimes.items()}
    points: dict[str, list[int]] = {}
    now: dict[str, str] = {}
    number = 1
    for phase in stream.service.life:
        for name in phase.regimes:
            place = slot(name, replaces)
            if now.get(place, name) != name:
                points.setdefault(place, []).append(number)
            now[place] = name
        number += phase.episodes
    return points
