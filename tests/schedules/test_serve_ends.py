"""How a service ends: MLflow is told of it, whoever ended it, and nobody sees a traceback."""

import os
import signal
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from serving import living_stream, prepared, rows

from schedules.commands.serve import serve
from schedules.drift_figure import drift_timeline
from schedules.lived import Lived
from schedules.progress import Silent
from schedules.service import Service
from schedules.stopping import Abandoned
from schedules.tracking import Tracker


def told(folder: Path) -> list[str]:
    """Status of the timeline, which is the run without a parent."""
    client = Tracker(folder).client
    found = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    return [run.info.status for run in found if "mlflow.parentRunId" not in run.data.tags]


def terminate(_: Service) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def ask(service: Service) -> None:
    service.stop("holdtrue stop")


class Impatient(Silent):
    """A second signal comes while the display is being put away."""

    def __exit__(self, *exception: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_mlflow_says_how_it_ended(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a signal, by two, and by a person's word; the figures of the last cycles are drawn in each case."""
    folder, drawn = prepared(tmp_path / "run", migrated), list[str]()
    draw = Tracker._draw
    monkeypatch.setattr(Tracker, "_draw", lambda self, run: (drawn.append(run), draw(self, run)))

    def served(end: Callable[[Service], None], display: type[Silent]) -> list[str]:
        monkeypatch.setattr(Service, "_step", end)
        monkeypatch.setattr("schedules.commands.serve.for_console", lambda console: display())
        drawn.clear()
        serve(living_stream(tiny_folder), folder, Console(quiet=True))
        assert drawn
        return told(folder)

    assert served(terminate, Silent) == ["KILLED"]
    assert served(ask, Silent) == ["FINISHED"]
    assert served(terminate, Impatient) == ["KILLED"]


def lives_until(count: int, end: Callable[[Service], None]) -> Callable[[Service], None]:
    """A step of the service; once so many episodes are lived, its end."""
    step = Service._step

    def lived(service: Service) -> None:
        step(service)
        if service.life.come.total >= count:
            end(service)

    return lived


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each picture of a life the episodes in it, in the order in which they are drawn."""
    drawn = list[int]()

    def counted(lived: Sequence[Lived], *marks: Any) -> Figure:
        drawn.append(len(lived))
        return drift_timeline(lived, *marks)

    monkeypatch.setattr("schedules.tracking.drift_timeline", counted)
    return drawn


@pytest.mark.parametrize("end", [terminate, ask])
def test_the_picture_of_a_life_without_cycles_is_of_its_end(
    end: Callable[[Service], None],
    tiny_folder: Path,
    migrated: Path,
    tmp_path: Path,
    drawn: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one is of cycle 0, before anything was lived."""
    folder = prepared(tmp_path / "run", migrated)
    monkeypatch.setattr(Service, "_step", lives_until(30, end))
    serve(living_stream(tiny_folder), folder, Console(quiet=True))
    [(lived,)] = rows(folder, "SELECT count(*) FROM story_lived")
    assert drawn == [0, lived]


def test_an_end_while_mlflow_is_away_loses_nothing(
    tiny_folder: Path, migrated: Path, tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said what MLflow did not take; the story is in the run's own file, and the next end draws all of it."""
    folder, said = prepared(tmp_path / "run", migrated), StringIO()

    def fails(*_: object) -> None:
        raise OSError("database is locked")

    with monkeypatch.context() as patch:

        def away(service: Service) -> None:
            patch.setattr(service.loop.tracker.client, "log_artifacts", fails)
            ask(service)

        patch.setattr(Service, "_step", lives_until(30, away))
        serve(living_stream(tiny_folder), folder, Console(file=said, width=400))
    assert "MLflow did not take the last figures and that the run is finished (database is locked); " in said.getvalue()
    assert told(folder) == ["RUNNING"]
    before = len(rows(folder, "SELECT number FROM story_lived"))
    assert before >= 30
    monkeypatch.setattr(Service, "_step", ask)
    serve(living_stream(tiny_folder), folder, Console(quiet=True))
    assert drawn[-1] == before
    assert told(folder) == ["FINISHED"]


def test_who_is_thrown_out_while_mlflow_is_told_does_not_ask_it_again(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked database holds up the record until patience ends; the end must not wait as long once more."""
    folder, asked = prepared(tmp_path / "run", migrated), list[str]()

    def thrown_out(*_: object) -> None:
        raise Abandoned

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "record", thrown_out)
        patch.setattr(Tracker, "finish", lambda _, status, story: asked.append(status))
        serve(living_stream(tiny_folder), folder, Console(quiet=True))
    assert asked == []
    assert rows(folder, "SELECT count(*) FROM loop_cycles") == [(1,)], "what was to be told was committed before"
    monkeypatch.setattr(Service, "_step", ask)
    serve(living_stream(tiny_folder), folder, Console(quiet=True))
    assert told(folder) == ["FINISHED"]
    assert rows(folder, "SELECT sent FROM loop_outbox") == [(1,)]


def test_an_old_trouble_does_not_keep_the_end_from_mlflow(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not take the last cycle, hours ago, and is well now: the end is told, and waits for nobody."""
    folder = prepared(tmp_path / "run", migrated)

    def troubled(service: Service) -> None:
        service.loop.tracker.failed = True
        ask(service)

    monkeypatch.setattr(Service, "_step", troubled)
    serve(living_stream(tiny_folder), folder, Console(quiet=True))
    assert told(folder) == ["FINISHED"]
