"""`holdtrue rollback`: one command, one transaction, and the whole record follows. No model is loaded here but once.

The run of `three_cycles`: row 0 untouched (goto .95, new .20); 1 promoted (.90, .70); 2 refused; 3 promoted (.40, .85).
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledgers import Made, aliases, three_cycles

from memory.database import Database
from schedules import record, rollback
from schedules.checkpoint import Committed, Ledger
from schedules.cli import main
from schedules.commands import rollback as command
from schedules.learned import learners
from schedules.metrics import ScoreMatrix, backward_transfer, forgetting
from schedules.record import catch_up, matrix_of, stream_of_run
from schedules.registry import Registry
from schedules.tracking import Tracker


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures cost most of a record, and are no part of this."""
    monkeypatch.setattr(Tracker, "_draw", lambda *_: None)


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    return made(tmp_path / "run", migrated)


def made(folder: Path, migrated: Path) -> Path:
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    three_cycles(folder)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    """The same, and MLflow knows it; to be copied."""
    folder = made(tmp_path_factory.mktemp("recorded") / "run", migrated)
    with Database(folder / "run.db") as database:
        assert catch_up(database, folder) == ""
    return folder


def back(folder: Path, *more: str) -> int:
    return main(["rollback", "--dir", str(folder), *more])


def state(folder: Path) -> tuple[list[Committed], ScoreMatrix]:
    with Database(folder / "run.db") as database:
        ledger = Ledger(database)
        committed = ledger.cycles()
        return committed, matrix_of(ledger, stream_of_run(ledger, folder))


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_the_adapter_before_is_champion_again(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert back(folder) == 0
    committed, matrix = state(folder)
    assert [entry.champion for entry in committed[-2:]] == ["adapters/cycle-003", "adapters/cycle-001"]
    assert matrix.scores[4].tolist() == matrix.scores[1].tolist() == [0.9, 0.7]
    assert capsys.readouterr().out == (
        "Rolled back: adapters/cycle-001 is champion again in place of adapters/cycle-003, with the scores of row 2.\n"
        "  goto             0.90\n  new              0.70\n"
        f"A run goes on from it:  holdtrue run --resume --dir {folder}\n"
    )
    assert (folder / "adapters/cycle-003/adapter_model.safetensors").is_file(), "nothing is deleted"
    told = report(folder)
    assert [row[0] for row in told["scores"]] == [0.95, 0.9, 0.9, 0.4, 0.9]
    assert told["cycles"][-1]["back_to"] == 2
    assert told["cycles"][-1]["accepted"] is False


def test_a_life_goes_on_by_being_served(folder: Path, capsys: pytest.CaptureFixture) -> None:
    with Database(folder / "run.db") as database:
        Ledger(database).replace_fact("command", "serve")
    assert back(folder) == 0
    assert f"A run goes on from it:  holdtrue serve --dir {folder}\n" in capsys.readouterr().out
    assert report(folder)["exam"]["never_trained"] == []


def test_what_was_taken_back_counts_in_no_figure(folder: Path) -> None:
    """Before: gaps goto (0, 3) and new (1, 2): forgetting (.55 + 0)/2. After: goto (0, 4): .05, new (1, 4): 0.

    `new` was trained in 1 and 3; taken back, 3 is no training, so the gap from 1 is open again.
    """
    _, before = state(folder)
    assert forgetting(before, split=False) == pytest.approx(0.275)
    back(folder)
    _, after = state(folder)
    assert after.in_force == [0, 1, 2, 4]
    assert after.trainings("new") == [1]
    assert forgetting(after, split=False) == pytest.approx(0.025)
    assert backward_transfer(after) == pytest.approx(-0.025)
    assert after.best_ever()["new"].mean == 0.7, "0.85 was of an adapter that is gone: no candidate is held to it"


def test_twice_goes_back_further_and_then_there_is_nothing(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert [back(folder), back(folder)] == [0, 0]
    committed, matrix = state(folder)
    assert committed[-1].champion == ""
    assert matrix.scores[-1].tolist() == [0.95, 0.2]
    assert matrix.skills == {"goto"}
    assert aliases(folder) == {}
    capsys.readouterr()
    assert back(folder) == 2
    assert "is the untouched model: there is nothing to go back to" in capsys.readouterr().err
    assert len(state(folder)[0]) == len(committed), "and nothing is committed"


def test_a_rollback_can_be_taken_back_by_name(folder: Path) -> None:
    back(folder)
    assert back(folder, "--to", "3") == 0
    committed, matrix = state(folder)
    assert committed[-1].champion == "adapters/cycle-003"
    assert matrix.in_force == [0, 1, 2, 3, 5]
    assert matrix.trainings("new") == [1, 3]
    assert aliases(folder) == {"champion": "3", "previous": "1"}


def test_mlflow_follows(recorded: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(recorded, tmp_path / "run")
    assert aliases(folder) == {"champion": "3", "previous": "1"}
    back(folder)
    assert aliases(folder) == {"champion": "1"}, "before cycle 1 there was no adapter"
    client, ids = Tracker(folder).client, report(folder)["mlflow"]
    history = client.get_metric_history(ids["timeline_run_id"], "overall/promoted")
    assert sorted((point.step, point.value) for point in history) == [(1, 1.0), (2, 0.0), (3, 1.0), (4, -1.0)]
    names = [run.info.run_name for run in client.search_runs([ids["experiment_id"]])]
    assert "cycle 04 rolled back" in names


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--to", "9"), "--to 9: {folder} has cycles 0 to 3. Give one of these (0: the untouched model)."),
        (("--to", "-1"), "--to -1: {folder} has cycles 0 to 3."),
        (("--to", "3"), "--to 3: its champion, adapters/cycle-003, is the champion now."),
    ],
)
def test_what_can_not_be(folder: Path, capsys: pytest.CaptureFixture, more: tuple[str, ...], told: str) -> None:
    assert back(folder, *more) == 2
    assert told.format(folder=folder) in capsys.readouterr().err


def test_an_adapter_that_is_gone_is_never_made_champion(folder: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.rmtree(folder / "adapters/cycle-001")
    assert back(folder) == 2
    assert "adapters/cycle-001 is not there any more" in capsys.readouterr().err
    assert len(state(folder)[0]) == 4
    assert back(folder, "--to", "0") == 0


def test_not_while_a_run_is_going_on(folder: Path, capsys: pytest.CaptureFixture) -> None:
    with Database(folder / "run.db"):
        assert back(folder) == 2
    assert "is in use by another run" in capsys.readouterr().err


def test_a_run_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with Database(tmp_path / "run.db") as database:
        Ledger(database)
    assert back(tmp_path) == 2
    assert "stopped before it began. Go on with --resume." in capsys.readouterr().err


KILLS: dict[str, tuple[Any, str, bool]] = {
    "before the commit": (Ledger, "commit", False),
    "after the commit": (command, "roll_back", True),
    "before MLflow": (record, "send", False),
    "before its child": (Tracker, "_record_child", False),
    "before the aliases": (Registry, "align", False),
    "between the aliases": (Registry, "_point", True),
    "after the aliases": (Registry, "align", True),
    "before it is confirmed": (Ledger, "mark_sent", False),
    "before the report": (record, "write", False),
    "within the report": (os, "replace", False),
    "after all": (record, "write", True),
}


def killed(owner: Any, name: str, after: bool) -> None:
    """From now on kill -9 this process at a call of `owner.name`."""
    real: Callable[..., Any] = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> None:
        if after:
            real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, deadly)


@pytest.mark.parametrize("place", KILLS)
def test_killed_anywhere(place: str, recorded: Path, tmp_path: Path) -> None:
    """The champion is the old one or the new one, whole; afterwards the record can always be brought up to it."""
    folder = shutil.copytree(recorded, tmp_path / "run")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            killed(*KILLS[place])
            back(folder)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    committed, _ = state(folder)
    done = place != "before the commit"
    assert [entry.champion for entry in committed[3:]] == ["adapters/cycle-003", *["adapters/cycle-001"] * done]
    with Database(folder / "run.db") as database:
        assert catch_up(database, folder) == "", "a repeat is not taken for somebody's hand"
        assert not list(Ledger(database).unsent())
    assert aliases(folder) == ({"champion": "1"} if done else {"champion": "3", "previous": "1"})
    assert len(report(folder)["scores"]) == len(committed)
    names = [
        run.info.run_name for run in Tracker(folder).client.search_runs([report(folder)["mlflow"]["experiment_id"]])
    ]
    assert names.count("cycle 04 rolled back") == done


def test_a_command_that_looks_brings_the_record_up_to_date(recorded: Path, tmp_path: Path) -> None:
    """Killed before it told anybody; `holdtrue report` does, and says it."""
    folder = shutil.copytree(recorded, tmp_path / "run")
    with Database(folder / "run.db") as database:
        rollback.roll_back(Ledger(database), folder, None)
    assert len(report(folder)["scores"]) == 4
    assert main(["report", str(folder)]) == 0
    assert len(report(folder)["scores"]) == 5
    assert aliases(folder) == {"champion": "1"}


def test_who_goes_on_from_what_was_taken_back(folder: Path) -> None:
    """Cycle 5 goes on from cycle 1, not from cycle 3, although it comes after it."""
    back(folder)
    run = Made.again(folder)
    run.cycle("new", True, goto=18, new=18)
    run.close()
    committed, _ = state(folder)
    assert learners(committed, {3}).descended == ()
    assert learners(committed, {1}).descended == ("adapters/cycle-003", "adapters/cycle-005")


def test_one_transaction(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its outbox record can't be written, the rollback isn't either."""
    monkeypatch.setattr(rollback, "tracking_record", lambda *_: {"not": {"JSON"}})
    with pytest.raises(TypeError):
        back(folder)
    assert len(state(folder)[0]) == 4


def test_made_runs_close(tmp_path: Path) -> None:
    """The helper commits as a loop does: the ledger gives the matrix back."""
    run = Made(tmp_path)
    run.cycle("new", True, goto=18, new=14)
    assert matrix_of(run.ledger, run.stream) == run.matrix
    run.close()
