"""A service in this process: the tiny model, a clock that a test sets, and a way to stop it at a known moment."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streams import small_stream

from schedules.commands.run import opened
from schedules.config import StreamSettings, effective
from schedules.control import Control
from schedules.progress import Silent
from schedules.served import ServedLoop
from schedules.service import Service

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
GRPO = {"type": "grpo", "rounds": 2, "groups": 4, "group_size": 4, "rehearsal_batch": 8}


class Clock:
    """Goes on by `step` whenever it is looked at, which is at every tick."""

    def __init__(self, step: float = 0.0, now: datetime = START) -> None:
        self.now, self.step = now, timedelta(seconds=step)
        self.looked: Callable[[], None] = lambda: None

    def __call__(self) -> datetime:
        self.now += self.step
        self.looked()
        return self.now


def living_stream(model: Path, **service: Any) -> StreamSettings:
    """The small stream, lived in by 8 worlds; what is lived is embedded by hashes, which is quick."""
    told = small_stream(model)
    told["memory"]["embedder"] = {"type": "hash"}
    told["service"] = {"worlds": 8, **service}
    return effective(StreamSettings.model_validate(told))


def every(count: int, task: str = "renamed", **more: Any) -> dict[str, Any]:
    """A trigger that makes a cycle due after so many episodes."""
    return {"when": {"type": "episodes", "count": count}, "task": task, "update": GRPO, **more}


def serve(
    stream: StreamSettings, folder: Path, until: Callable[[Service], bool], clock: Clock | None = None
) -> Service:
    """Serve until something holds; it is asked whenever the clock is."""
    clock = clock or Clock()
    loop = opened(stream, folder, Silent(), ServedLoop)
    control = Control(folder)
    try:
        service = Service(loop, control, clock)

        def look() -> None:
            if until(service):
                service.stop("the test")

        clock.looked = look
        service.serve()
        return service
    finally:
        control.farewell()
        control.close()
        if loop.life is not None:
            loop.life.close()
        loop.close()


def prepared(folder: Path, migrated: Path) -> Path:
    """A new run's folder; making MLflow's database takes seconds."""
    folder.mkdir(parents=True)
    shutil.copy(migrated, folder / "mlflow.db")
    return folder


def rows(folder: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query says of the run's file."""
    with closing(sqlite3.connect(folder / "run.db")) as database:
        return database.execute(sql, values).fetchall()


def reports(folder: Path) -> list[dict[str, Any]]:
    """Reports of the committed cycles, without seconds."""
    told = [json.loads(report) for (report,) in rows(folder, "SELECT report FROM loop_cycles WHERE cycle > 0")]
    return [{key: value for key, value in report.items() if key != "seconds"} for report in told]


def cycles_done(count: int) -> Callable[[Service], bool]:
    """Until more cycles than these were committed, the examination before any included."""
    return lambda service: service.loop.next_cycle > count


def lived(count: int) -> Callable[[Service], bool]:
    """Until so many episodes were lived."""
    return lambda service: service.loop.life is not None and service.loop.life.come.total >= count
