"""Cycles that are due: nothing is due twice, whoever looks, and done is done with the cycle's own commit."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serving import START

from memory.database import Database
from memory.schema import MIGRATIONS
from schedules.diary import Come, Diary
from schedules.lived import Lived
from schedules.queue import SideDoor, Triggers, done, first_due, migrate, put
from schedules.service import watching_the_clock
from schedules.serving import TriggerPlan
from schedules.watch import Alarm

HOUR = timedelta(hours=1)
NIGHTLY = {"when": {"type": "cron", "line": "0 3 * * *"}, "task": "goto", "update": {"type": "grpo"}}
HOURLY = {"when": {"type": "interval", "hours": 1}, "task": "goto", "update": {"type": "grpo"}}
COUNTED = {"when": {"type": "episodes", "count": 10}, "update": {"type": "grpo"}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "run.db") as database:
        database.migrate("memory", MIGRATIONS)
        Diary(database)
        migrate(database)
        yield database


def triggers(store: Any, *plans: dict[str, Any], started: datetime = START) -> Triggers:
    return Triggers(store, [TriggerPlan.model_validate(plan) for plan in plans], started)


def run_due(store: Database, cycle: int) -> None:
    due = first_due(store)
    assert due is not None
    done(store, due.id, cycle)


def test_a_new_trigger_counts_from_its_first_look(store: Database) -> None:
    """Served first at noon: nothing that was due before is missed."""
    looks = triggers(store, NIGHTLY)
    assert looks.look(START) == looks.look(START + 14.9 * HOUR) == []
    assert looks.look(START + 15 * HOUR) == ["cron '0 3 * * *': due at 2026-03-03 03:00 UTC"]
    due = first_due(store)
    assert due is not None
    assert (due.trigger, due.task, due.update["type"]) == ("cron", "goto", "grpo")


def test_what_comes_while_one_waits_is_taken_together(store: Database) -> None:
    """Due at 1, run at 3.5: 2 and 3 became due meanwhile and are one, said at the next look."""
    looks = triggers(store, HOURLY)
    looks.look(START)
    assert len(looks.look(START + HOUR)) == 1
    assert looks.look(START + 2 * HOUR) == looks.look(START + 3.5 * HOUR) == []
    run_due(store, 1)
    (told,) = looks.look(START + 3.5 * HOUR)
    assert told.endswith("(1 more due while it was busy; taken together)")
    run_due(store, 2)
    assert looks.look(START + 4 * HOUR) == []
    assert first_due(store) is None


def test_missed_times_are_one_with_their_reason_and_what_waited_still_waits(store: Database) -> None:
    """Stopped on the second of March, served again on the sixth at noon: 3 to 6 March, 03:00, are one."""
    triggers(store, NIGHTLY, COUNTED).look(START)
    back = START + 96 * HOUR
    again = triggers(store, NIGHTLY, COUNTED, started=back)
    assert again.look(back) == [
        "cron '0 3 * * *': due at 2026-03-06 03:00 UTC (4 due times missed while it was stopped; taken together)"
    ]
    assert triggers(store, NIGHTLY, COUNTED, started=back + HOUR).look(back + HOUR) == []
    assert store.execute("SELECT count(*) FROM loop_queue WHERE state = 'due'").fetchone() == (1,)


def test_a_clock_that_jumps_back_makes_nothing_due_twice(store: Database) -> None:
    """Due at 03:00; then it is 02:30 again, and 03:00 again."""
    looks = triggers(store, NIGHTLY, HOURLY)
    looks.look(START)
    assert len(looks.look(START + 15 * HOUR)) == 2
    run_due(store, 1)
    run_due(store, 2)
    for hours in (14.5, 15, 15.0001):
        assert looks.look(START + hours * HOUR) == []
    assert [told.split(":")[0] for told in looks.look(START + 16.5 * HOUR)] == ["interval"]


def test_episodes_count_from_the_last_time(store: Database) -> None:
    diary, looks = Diary(store), triggers(store, COUNTED)
    looks.look(START)
    for number, due in ((9, 0), (10, 1), (12, 0)):  # the two more come while it waits
        diary.write(Come(number + 1, (), {"goto": number}), [], [], START)
        assert len(looks.look(START)) == due
    run_due(store, 1)
    diary.write(Come(20, (), {"goto": 19}), [], [], START)
    assert looks.look(START) == []
    diary.write(Come(21, (), {"goto": 20}), [], [], START + HOUR)
    assert looks.look(START + HOUR) == ["episodes: 10 lived since the last time (every 10)"]


def test_a_commit_that_fails_leaves_it_due(store: Database) -> None:
    """Done and the cycle are one transaction."""
    put(store, "cron", "goto", {"type": "grpo"}, "due", START)

    def commit() -> None:
        with store.transaction():
            run_due(store, 1)
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError):
        commit()
    assert first_due(store) is not None


def test_the_same_moment_is_due_once(store: Database) -> None:
    """The table itself refuses the second, also once the first is done."""
    assert put(store, "cron", "goto", {}, "due", START)
    run_due(store, 1)
    assert not put(store, "cron", "goto", {}, "due", START)
    assert first_due(store) is None


def test_two_threads_that_look_at_once_make_one_due(store: Database) -> None:
    """20 hours, each looked at by three threads through their own connections: 20 rows, never two for one hour."""
    doors = [SideDoor(store.path) for _ in range(3)]
    looks = [triggers(door, HOURLY) for door in doors]
    looks[0].look(START)
    made: list[str] = []
    for hour in range(1, 21):
        meet = threading.Barrier(3)

        def look(one: Triggers, hour: int = hour, meet: threading.Barrier = meet) -> None:
            meet.wait()
            made.extend(one.look(START + hour * HOUR))

        threads = [threading.Thread(target=look, args=(one,)) for one in looks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run_due(store, hour)
    for door in doors:
        door.close()
    assert len(made) == len(set(made)) == 20


def test_the_thread_makes_due_only_what_the_clock_alone_decides(store: Database) -> None:
    """12 episodes are lived, and a second has passed: the event and the mix with it wait for the thread that lives."""
    second = {"type": "interval", "seconds": 1}
    event = {"type": "episodes", "count": 10}
    update = {"update": {"type": "grpo"}}
    plans = [
        {"name": "clock", "when": {"type": "all_of", "of": [second, {"type": "any_of", "of": [second]}]}, **update},
        {"name": "event", "when": event, **update},
        {"name": "mix", "when": {"type": "any_of", "of": [second, {"type": "any_of", "of": [event]}]}, **update},
    ]
    told = [TriggerPlan.model_validate(plan) for plan in plans]
    loop: Any = SimpleNamespace(
        folder=store.path.parent, stream=SimpleNamespace(service=SimpleNamespace(triggers=told))
    )
    diary, now = Diary(store), [START]
    Triggers(store, told, START).look(START)
    with watching_the_clock(loop, lambda: now[0]) as scheduler:
        diary.write(Come(13, (), {"goto": 12}), [], [], START)
        now[0] += timedelta(seconds=1)
        scheduler.get_jobs()[0].func()
    assert store.execute("SELECT trigger FROM loop_queue").fetchall() == [("clock",)]
    assert len(Triggers(store, told, START).look(now[0])) == 2


def seen(place: int, task: str, reward: float) -> tuple[str, Lived]:
    return task, Lived(place, f"{place}", task, reward)


@pytest.mark.parametrize(
    ("when", "task"),
    [
        ({"type": "drift"}, "cards"),
        ({"type": "drift", "task": "goto"}, "goto"),
        ({"type": "all_of", "of": [{"type": "drift", "task": "goto"}, {"type": "episodes", "count": 2}]}, "goto"),
        ({"type": "any_of", "of": [{"type": "drift", "task": "goto"}, {"type": "episodes", "count": 2}]}, "cards"),
        ({"type": "success", "task": "words", "below": 0.9, "last": 2}, "words"),
    ],
)
def test_alarmed_is_what_made_it_due(store: Database, when: dict[str, Any], task: str) -> None:
    """An alarm of `goto`, then one of `cards`; `words` goes badly. A trigger that names regimes looks at no others."""
    looks = triggers(store, {"when": when, "update": {"type": "grpo"}})
    looks.look(START)
    lived = [seen(1, "words", 0.0), seen(2, "words", 0.0), seen(3, "cards", 1.0), seen(4, "goto", 1.0)]
    alarms = [(name, Alarm(4, name, "reward", 0.5, f"{name} fell", ())) for name in ("goto", "cards")]
    Diary(store).write(Come(5, (), {"words": 2, "cards": 1, "goto": 1}), lived, alarms, START)
    assert len(looks.look(START)) == 1
    due = first_due(store)
    assert due is not None
    assert due.task == task


def test_come_knows_what_was_lived_out_of_order() -> None:
    """1, 3, 4 are lived: 2 is next, 4 the newest. Then 2: 5 is next, and nothing is ahead."""
    come = Come().after([3, 1], ["goto", "cards"]).after([4], ["goto"])
    assert (come.next, come.ahead, come.lived, come.total) == (2, (3, 4), {"goto": 2, "cards": 1}, 3)
    assert (come.newest, Come().newest) == (4, 0)
    come = come.after([2], ["goto"])
    assert (come.next, come.ahead, come.total, come.newest) == (5, (), 4, 4)
