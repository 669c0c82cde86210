"""MLflow away, and MLflow changed by hand: cycles go on, records arrive later in order, and SQLite's truth wins."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ledgers import Made, three_cycles

from memory.database import Database
from schedules.delivery import brief
from schedules.record import catch_up, send
from schedules.tracking import Tracker


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures cost most of a record, and are no part of this."""
    monkeypatch.setattr(Tracker, "_draw", lambda *_: None)


@pytest.fixture
def made(tmp_path: Path, migrated: Path) -> Iterator[Made]:
    """A run before its first cycle."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    run = Made(tmp_path)
    yield run
    run.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copy(migrated, folder / "mlflow.db")
    three_cycles(folder)
    assert told(folder) == ""
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """Three cycles that MLflow knows: versions 1 (of cycle 1, previous) and 2 (of cycle 3, champion)."""
    return shutil.copytree(recorded, tmp_path / "run")


def told(folder: Path) -> str:
    """Send what waits, as a run that is started anew does; what it says."""
    with Database(folder / "run.db") as database:
        return catch_up(database, folder)


def one_more(folder: Path, accepted: bool = False) -> str:
    """One cycle more, told by a tracker that is started anew: what it says."""
    run = Made.again(folder)
    run.cycle("new", accepted, goto=15, new=15)
    run.close()
    return told(folder)


def steps(folder: Path) -> list[int]:
    """Cycles of the timeline, in the order in which they arrived."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        sql = "SELECT step FROM metrics WHERE key = 'overall/average_success' ORDER BY rowid"
        return [step for (step,) in database.execute(sql)]


def aliases(folder: Path) -> dict[str, str]:
    found = Tracker(folder).client.search_registered_models("name = 'made'")
    return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}


# -- away -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another program holds MLflow's database."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def unwritable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No folder for artifacts can be made: a file is in its place. (Rights don't hold back an administrator.)"""
    place = folder / "mlartifacts"
    place.write_text("in the way")
    yield
    place.unlink()


@contextlib.contextmanager
def raising(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is asked, it fails, at length."""

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the server is away\n" + "x" * 10_000)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "start", fails)
        yield


def test_a_run_that_nobody_runs_is_not_left_running(folder: Path) -> None:
    """Killed, and looked at afterwards; one that ended stays as it ended."""
    client = Tracker(folder).client
    [run] = [
        r for e in client.search_experiments() for r in client.search_runs([e.experiment_id], "run_name = 'timeline'")
    ]
    for before, after in (("RUNNING", "KILLED"), ("FINISHED", "FINISHED")):
        client.set_terminated(run.info.run_id, before)
        assert told(folder) == ""
        assert client.get_run(run.info.run_id).info.status == after


@pytest.mark.parametrize("away", [unwritable, raising])
def test_cycles_go_on_and_arrive_later_in_order(
    away: Callable[..., Any], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away for three cycles and a restart; then all are there, in order, and once."""
    tracker = Tracker(made.folder)
    with away(made.folder, monkeypatch):
        for task, accepted in (("new", True), ("goto", False)):
            made.cycle(task, accepted, goto=18, new=15)
            said = send(tracker, made.ledger, made.stream, made.matrix)
            assert said.startswith("MLflow did not take ")
            assert said.endswith("it is kept and sent again after the next cycle.")
            assert len(said) < 400, "a sentence, not a page"
        made.cycle("new", True, goto=17, new=16)
        assert send(Tracker(made.folder), made.ledger, made.stream, made.matrix), "a restart meets the same"
    waiting = [record["cycle"] for record in made.ledger.unsent()]
    assert waiting[-3:] == [1, 2, 3], "cycle 0 has no artifact, so without its folder it can be told"
    assert send(tracker, made.ledger, made.stream, made.matrix) == "", "the one that failed goes on, too"
    assert steps(made.folder) == [0, 1, 2, 3]
    assert not list(made.ledger.unsent())
    assert aliases(made.folder) == {"champion": "2", "previous": "1"}


def test_a_locked_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Made.again(folder)
    run.ledger.send_again()
    with locked(folder, monkeypatch):
        assert "database is locked" in send(Tracker(folder), run.ledger, run.stream, run.matrix)
        assert len(list(run.ledger.unsent())) == 4
    run.close()
    assert told(folder) == ""
    assert steps(folder) == [0, 1, 2, 3]


def test_the_end_of_a_run_while_mlflow_is_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(folder)
    tracker.start("made", {})
    with monkeypatch.context() as patch:
        patch.setattr(tracker.client, "set_terminated", lambda *_: (_ for _ in ()).throw(OSError("database is locked")))
        assert tracker.finish() == (
            "MLflow did not take that the run is finished (database is locked); nothing else is missing."
        )
    assert tracker.finish() == ""


# -- changed by hand --------------------------------------------------------------------------------------------------


def test_nothing_changed_nothing_said(folder: Path) -> None:
    assert one_more(folder) == ""
    assert one_more(folder, accepted=True) == ""
    assert aliases(folder) == {"champion": "3", "previous": "2"}


@pytest.mark.parametrize(
    ("hand", "said"),
    [
        (
            lambda client: client.delete_registered_model_alias("made", "champion"),
            "The alias 'champion' of made was deleted by hand: it names version 2 again",
        ),
        (
            lambda client: client.set_registered_model_alias("made", "champion", "1"),
            "The alias 'champion' of made was moved to version 1 by hand: it names version 2 again",
        ),
        (
            lambda client: client.set_registered_model_alias("made", "previous", "2"),
            "The alias 'previous' of made was moved to version 2 by hand: it names version 1 again",
        ),
    ],
)
def test_an_alias_moved_by_hand_is_moved_back(folder: Path, hand: Callable[[Any], None], said: str) -> None:
    hand(Tracker(folder).client)
    told = one_more(folder)
    assert said in told
    assert "Another champion is had by: holdtrue rollback --to CYCLE" in told
    assert aliases(folder) == {"champion": "2", "previous": "1"}
    assert one_more(folder) == "", "said once"


def test_a_deleted_version_is_registered_anew(folder: Path) -> None:
    client = Tracker(folder).client
    client.delete_model_version("made", "2")
    assert "The version of cycle 3 was deleted by hand: it is registered anew as version " in one_more(folder)
    named = client.get_model_version_by_alias("made", "champion")
    assert named.tags["holdtrue.cycle"] == "3"
    assert Path(named.source.removeprefix("file://"), "adapter_model.safetensors").read_bytes() == bytes([3]) * 64
    assert one_more(folder) == ""


def test_a_deleted_version_whose_adapter_is_gone_too_is_said(folder: Path) -> None:
    Tracker(folder).client.delete_model_version("made", "2")
    shutil.rmtree(folder / "adapters/cycle-003")
    said = one_more(folder)
    assert "was deleted by hand and can't be registered anew" in said
    assert "adapters/cycle-003 is gone, too" in said


def test_a_deleted_model_is_made_anew(folder: Path) -> None:
    Tracker(folder).client.delete_registered_model("made")
    said = one_more(folder)
    assert "The registered model made was deleted by hand: it is made anew" in said
    found = aliases(folder)
    client = Tracker(folder).client
    cycles = {alias: client.get_model_version("made", v).tags["holdtrue.cycle"] for alias, v in found.items()}
    assert cycles == {"champion": "3", "previous": "1"}
    assert one_more(folder) == ""


def test_a_deleted_experiment_is_restored(folder: Path) -> None:
    client = Tracker(folder).client
    client.delete_experiment(client.get_experiment_by_name("made").experiment_id)
    assert "The experiment made was deleted by hand in MLflow: it is restored." in one_more(folder)
    assert steps(folder) == [0, 1, 2, 3, 4]
    assert one_more(folder) == ""


def test_deleted_while_the_run_goes_on(folder: Path) -> None:
    """The cycle after it is kept; the one after that finds it, restores it, and sends both."""
    run = Made.again(folder)
    tracker = Tracker(folder)
    assert send(tracker, run.ledger, run.stream, run.matrix) == ""
    assert tracker.ids is not None
    tracker.client.delete_experiment(tracker.ids.experiment_id)
    said = []
    for _ in range(2):
        run.cycle("new", False, goto=15, new=15)
        said.append(send(tracker, run.ledger, run.stream, run.matrix))
    run.close()
    assert "MLflow did not take cycle 4" in said[0]
    assert "was deleted by hand in MLflow: it is restored." in said[1]
    assert steps(folder) == [0, 1, 2, 3, 4, 5]


def test_a_renamed_experiment_keeps_its_new_name(folder: Path) -> None:
    client = Tracker(folder).client
    identity = client.get_experiment_by_name("made").experiment_id
    client.rename_experiment(identity, "my study")
    assert "The experiment made is called my study in MLflow now: its record goes on there." in one_more(folder)
    assert client.get_experiment(identity).name == "my study"
    assert client.get_experiment_by_name("made") is None, "no second one is made"
    assert steps(folder) == [0, 1, 2, 3, 4]


def test_a_deleted_timeline_is_restored(folder: Path) -> None:
    client = Tracker(folder).client
    identity = client.get_experiment_by_name("made").experiment_id
    (timeline,) = client.search_runs([identity], "tags.`holdtrue.kind` = 'timeline'")
    client.delete_run(timeline.info.run_id)
    assert "The timeline was deleted by hand in MLflow: it is restored." in one_more(folder)
    assert steps(folder) == [0, 1, 2, 3, 4]


def test_a_lost_database_is_filled_again(folder: Path, migrated: Path) -> None:
    """Another folder, else MLflow's client in this process would go on with the file that was deleted."""
    moved = folder.with_name("moved")
    folder.rename(moved)
    shutil.copy(migrated, moved / "mlflow.db")
    assert "MLflow's record was gone: 4 cycles are sent again." in one_more(moved)
    assert steps(moved) == [0, 1, 2, 3, 4]
    assert aliases(moved) == {"champion": "2", "previous": "1"}


def test_errors_are_brief() -> None:
    assert brief(ValueError("first\nsecond")) == "first"
    assert brief(KeyError()) == "KeyError"
