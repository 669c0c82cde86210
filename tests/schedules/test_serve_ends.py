"""How a service ends: MLflow is told of it, whoever ended it, and nobody sees a traceback."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from serving import living_stream, prepared

from schedules.commands.serve import serve
from schedules.progress import Silent
from schedules.service import Service
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
