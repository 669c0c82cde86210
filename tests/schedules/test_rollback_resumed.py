"""A run that was rolled back goes on with its planned cycles: none is skipped, none is run twice."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from streams import small_stream, write_stream

from schedules import candidates
from schedules.cli import main
from schedules.tracking import Tracker


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures cost most of a record, and are no part of this."""
    monkeypatch.setattr(Tracker, "_draw", lambda *_: None)


def back(folder: Path, *more: str) -> int:
    return main(["rollback", "--dir", str(folder), *more])


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_planned_cycles_go_on_from_it_and_none_is_skipped(
    tiny_folder: Path, tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the end of the second of two cycles, rolled back to the untouched model, resumed: both are there.

    What the given-up cycle had played is gone, although the rollback has its number.
    """
    stream = write_stream(tmp_path / "small.yaml", small_stream(tiny_folder))
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    judged = []
    with monkeypatch.context() as patch:

        def once(*args: Any) -> Any:
            judged.append(args)
            if len(judged) == 2:
                raise KeyboardInterrupt
            return judge(*args)

        judge = candidates.judge
        patch.setattr(candidates, "judge", once)
        assert main(["run", str(stream), "--dir", str(folder)]) == 130
    assert back(folder) == 0
    assert main(["run", "--resume", "--dir", str(folder)]) == 0
    told = report(folder)
    assert [(c["cycle"], c["task"], c["reason"]) for c in told["cycles"]] == [
        (1, "renamed", "planned: cycle 1 of 2"),
        (2, "", "asked for: holdtrue rollback"),
        (3, "copycat", "planned: cycle 2 of 2"),
    ]
    first, third = (
        json.loads((folder / f"adapters/cycle-{number:03d}/manifest.json").read_text()) for number in (1, 3)
    )
    assert third["parent"] == first["parent"], "both go on from the untouched model"
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as database:
        played = database.execute("SELECT cycle, count(*) FROM episodes GROUP BY cycle ORDER BY cycle").fetchall()
    assert played == [(0, 8), (1, 32), (3, 16)]
    assert (folder / "finished").exists()
