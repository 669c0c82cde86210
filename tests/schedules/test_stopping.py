"""Signals end a service softly, then firmly; and the clock's thread makes cycles due while the main one is busy."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from memory.database import Database
from memory.schema import MIGRATIONS
from schedules import stopping
from schedules.diary import Diary
from schedules.queue import first_due, migrate
from schedules.served import ServedLoop
from schedules.service import watching_the_clock
from schedules.serving import TriggerPlan
from schedules.stopping import Abandoned, on_signals


def test_a_first_signal_is_heard_and_a_second_throws_out() -> None:
    heard: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with on_signals(heard.append):
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["SIGTERM"]
        with pytest.raises(Abandoned):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.alarm(0) == 0


def test_who_does_not_stop_in_time_is_thrown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "FORCED_AFTER_SECONDS", 1)
    with on_signals(lambda why: None):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Abandoned):
            time.sleep(10)


def test_the_clocks_thread_makes_due_while_the_main_one_is_busy(tmp_path: Path) -> None:
    """An interval of a second, in a transaction's way at first: it waits for that, and puts in one row."""
    plan = {"when": {"type": "interval", "seconds": 1}, "task": "goto", "update": {"type": "grpo"}}
    with Database(tmp_path / "run.db") as database:
        database.migrate("memory", MIGRATIONS)
        Diary(database)
        migrate(database)
        service = SimpleNamespace(triggers=[TriggerPlan.model_validate(plan)])
        loop: Any = SimpleNamespace(folder=tmp_path, stream=SimpleNamespace(service=service))
        with watching_the_clock(cast(ServedLoop, loop)):
            with database.transaction():
                time.sleep(1.5)
            end = time.monotonic() + 20
            while first_due(database) is None:
                assert time.monotonic() < end, "nothing was made due"
                time.sleep(0.1)
        assert database.execute("SELECT count(*) FROM loop_queue").fetchone() == (1,)
