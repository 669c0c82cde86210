"""What a tick of a life asks of the run's file, in operations of SQLite: after weeks as many as on the first day."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from serving import START, every

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import ReplayMemory
from schedules.checkpoint import Committed, Ledger
from schedules.diary import Come, Diary
from schedules.lived import Lived
from schedules.queue import Triggers, done, first_due, migrate, put
from schedules.serving import TriggerPlan
from schedules.story import Story
from schedules.watch import Alarm


class Effort:
    """Of whatever runs in a block: operations of SQLite's virtual machine; one for each row that is stepped over."""

    def __init__(self, database: Database) -> None:
        self._connection = database._connection
        self.operations = 0

    def __enter__(self) -> "Effort":
        self._connection.set_progress_handler(self._one, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.set_progress_handler(None, 1)

    def _one(self) -> int:
        self.operations += 1
        return 0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "run.db") as opened:
        migrate(opened)
        ReplayMemory(opened, HashEmbedder(8))  # judgements are its
        yield opened


def lived(number: int) -> Lived:
    return Lived(number, f"e{number}", "copycat", 1.0, 0.1, np.ones(4, np.float32))


def alarm(number: int) -> Alarm:
    return Alarm(number, "copycat", "reward", 0.5, "it fell", ())


def episodes(database: Database, first: int, count: int) -> None:
    """Live so many, each with an alarm."""
    diary, story, come = Diary(database), Story(database), Come(first + count, (), {"copycat": first + count - 1})
    these = [lived(number) for number in range(first, first + count)]
    told = [("copycat", alarm(one.number)) for one in these]
    with database.transaction():
        diary.write(come, [("copycat", one) for one in these], told, START)
        story.write(these)


def tick(database: Database, triggers: Triggers, number: int) -> int:
    """What a tick in which one episode ends takes."""
    diary, story = Diary(database), Story(database)
    with Effort(database) as effort:
        first_due(database)
        with database.transaction():
            diary.write(diary.come().after([number], ["copycat"]), [("copycat", lived(number))], [], START)
            story.write([lived(number)])
        triggers.look(START + timedelta(seconds=number))
    return effort.operations


def test_a_tick_reads_as_little_after_a_thousand_cycles_as_after_one(database: Database) -> None:
    """The queue keeps what was done, the diary a stretch of 16,384, the story 8192, of alarms the last 1000 stay."""
    triggers = Triggers(database, [TriggerPlan.model_validate(every(10**6))], START)

    def cycle(number: int) -> None:
        assert put(database, "episodes", "copycat", {}, "", START + timedelta(minutes=number))
        due = first_due(database)
        assert due is not None
        done(database, due.id, number)

    cycle(1)
    episodes(database, 1, 200)
    tick(database, triggers, 201)  # it begins to count here, up to as many outcomes as a trigger is told
    episodes(database, 202, 1300)
    first = tick(database, triggers, 1502)
    for number in range(2, 1000):
        cycle(number)
    episodes(database, 1503, 12_000)
    assert tick(database, triggers, 13_503) <= 1.05 * first


def test_what_mlflow_was_told_is_not_read_again(database: Database) -> None:
    """`unsent` finds the one record that waits among 200 that do not; the control reads all of them."""
    ledger = Ledger(database)

    def waiting() -> int:
        with Effort(database) as effort:
            told = [record["cycle"] for record in ledger.unsent()]
        assert len(told) == 1
        return effort.operations

    ledger.commit(Committed(0, {}, {}, ""), {"cycle": 0})
    first = waiting()
    for number in range(1, 200):
        ledger.commit(Committed(number, {}, {}, ""), {"cycle": number})
        ledger.mark_sent(number - 1)
    assert waiting() == first
    database.execute("DROP INDEX loop_outbox_unsent")
    assert waiting() > first + 199
