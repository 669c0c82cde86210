"""A simulated month: the loop is real, its model says nothing, and the clock is quick.

Due times of a cron line every six hours can be counted by hand: 4 a day. A service that was away for two days of the
month finds 8 of them missed, taken together; every other one has a cycle of its own.
"""

import gc
import re
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
from fake_policy import FakePolicy
from serving import START, Clock, every, living_stream, reports, rows, serve

from schedules import loop, record
from schedules.service import Service

NOTHING = {"type": "tests.schedules.fake_update"}
SIX_HOURLY = {"when": {"type": "cron", "line": "0 */6 * * *"}, "task": "copycat", "update": NOTHING}
HOUR, DAY, AWAY = timedelta(hours=1), timedelta(days=1), timedelta(days=2)
GROWTH = 0.05


def month(folder: Path, monkeypatch: pytest.MonkeyPatch, days: int, step: float) -> list[float]:
    """Live for so many days, away for two in the middle; resident memory at the end of each, in bytes."""
    monkeypatch.setattr(loop, "Policy", FakePolicy)
    monkeypatch.setattr(record, "send", lambda *args: "MLflow is away for the month.")
    triggers = [SIX_HOURLY, every(1500, update=NOTHING)]
    stream = living_stream(Path("none"), triggers=triggers, worlds=4)
    memory = stream.memory.with_(on=False, capacity=500)
    stream = stream.with_(memory=memory.model_dump(mode="json"))
    clock, resident = Clock(step), list[float]()

    def live(until: datetime) -> None:
        def over(service: Service) -> bool:
            if clock.now >= START + (len(resident) + 1) * DAY:
                gc.collect()
                resident.append(psutil.Process().memory_info().rss)
            return clock.now >= until and service.loop.due is None

        serve(stream, folder, over, clock)

    live(START + days // 2 * DAY + HOUR)
    clock.now += AWAY
    live(START + days * DAY + HOUR)
    return resident


def told_times(folder: Path) -> list[int]:
    """How many due times each cron cycle stands for, by its reason."""
    told = [r["reason"] for r in reports(folder) if r["reason"].startswith("cron")]
    found = [
        re.search(r"\((\d+) (?:due times? missed while it was stopped|more due while it was busy)", t) for t in told
    ]
    return [1 if hit is None else int(hit[1]) + ("busy" in hit[0]) for hit in found]


def done_and_waiting(folder: Path) -> tuple[list[int], int]:
    """The cycles that were run of what was due, in order, and how much of it still waits."""
    done = rows(folder, "SELECT cycle FROM loop_queue WHERE state = 'done' ORDER BY cycle")
    [(waiting,)] = rows(folder, "SELECT count(*) FROM loop_queue WHERE state = 'due'")
    return [cycle for (cycle,) in done], waiting


def test_six_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks of ten minutes. Of 24 due times 8 are one cycle: 17 cycles."""
    month(tmp_path / "run", monkeypatch, 6, 600)
    times = told_times(tmp_path / "run")
    assert (sum(times), len(times), max(times)) == (24, 17, 8)
    done, waiting = done_and_waiting(tmp_path / "run")
    assert (done, waiting) == ([*range(1, len(done) + 1)], 0)


@pytest.mark.soak
def test_a_month_whose_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """21,600 ticks of two minutes; of 120 due times 8 are one cycle. After a day memory grows by 5 % at most."""
    resident = month(tmp_path / "run", monkeypatch, 30, 120)
    times = told_times(tmp_path / "run")
    assert (sum(times), len(times), max(times)) == (120, 113, 8)
    done, waiting = done_and_waiting(tmp_path / "run")
    assert (done, waiting) == ([*range(1, len(done) + 1)], 0)
    grown = max(resident[1:]) / resident[0] - 1
    print(f"resident after a day {resident[0] / 1e6:.0f} MB, at most {max(resident) / 1e6:.0f} MB: {grown:+.1%}")
    assert grown <= GROWTH
