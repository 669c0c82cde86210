"""`holdtrue run` from end to end: what it leaves behind, and that being stopped anywhere changes nothing of it."""

import contextlib
import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streams import small_stream, write_stream

from agent.learner import Learner
from agent.policy import Policy
from memory.database import Database
from memory.store import ReplayMemory
from schedules import candidates, loop, playing
from schedules.checkpoint import Ledger
from schedules.cli import main
from schedules.commands import run as run_command
from schedules.report import RUN_KEYS
from schedules.tracking import Tracker


@pytest.fixture(scope="module")
def stream(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stream(tmp_path_factory.mktemp("stream") / "small.yaml", small_stream(tiny_folder))


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    return prepared(tmp_path / "run", migrated)


def prepared(folder: Path, migrated: Path) -> Path:
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    return folder


def run(stream: Path, folder: Path, *more: str) -> int:
    return main(["run", str(stream), "--dir", str(folder), *more])


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as database:
        return database.execute(sql).fetchall()


def lasting(folder: Path) -> dict[str, Any]:
    """The report without seconds, and without what names the folder or counts its free pages; and what was recalled."""
    told = report(folder)
    told["drawn"] = rows(folder, "SELECT cycle, episode, use, why FROM drawn ORDER BY number")
    told["marks"] = rows(folder, "SELECT id, seen, uses, drift FROM episodes ORDER BY number")
    for part in [told, *told["cycles"]]:
        del part["seconds"]
    del told["mlflow"], told["memory"]["bytes"]
    return told


@pytest.fixture(scope="module")
def whole(stream: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = prepared(tmp_path_factory.mktemp("whole") / "run", migrated)
    assert run(stream, folder) == 0
    return folder


def test_the_report_has_the_agreed_keys(whole: Path) -> None:
    told = report(whole)
    assert set(told) == set(RUN_KEYS)
    assert told["tasks"] == ["copycat", "renamed"]
    assert [len(row) for row in told["scores"]] == [len(row) for row in told["scores_ci"]] == [2, 2, 2]
    assert [(c["cycle"], c["task"], c["algorithm"]) for c in told["cycles"]] == [
        (1, "renamed", "grpo"), (2, "copycat", "dpo")
    ]  # fmt: skip
    phases = {"rollout", "update", "exam", "memory", "tracking", "checkpoint", "other"}
    for told_of in told["cycles"]:
        assert {"accepted", "verdict", "reason", "decisions", "before", "after", "update"} <= set(told_of)
        assert set(told_of["seconds"]) == phases
    assert told["memory"]["episodes"] == 8 + 2 * 16 + 16
    assert told["cycles"][0]["decisions"] == 2 * 16 + 2 * 8  # two rounds, and the candidate's exam


def test_who_was_drawn_and_why_is_logged_counted_and_never_of_the_trained_task(whole: Path) -> None:
    """Of what was drawn, drift was measured too: in cycle 1 it is 0, since those who played it still answer."""
    drawn = rows(
        whole,
        "SELECT drawn.cycle, use, why, task, episodes.cycle, drift FROM drawn JOIN episodes ON id = episode",
    )
    assert len(drawn) == len(rows(whole, "SELECT number FROM drawn"))
    for cycle_report in report(whole)["cycles"]:
        of_it = [row for row in drawn if row[0] == cycle_report["cycle"]]
        assert {row[1] for row in of_it} == {"rehearsal"}
        assert Counter(row[2].split(":")[0] for row in of_it) == cycle_report["recalled"]
        assert all(row[3] != cycle_report["task"] and row[4] < row[0] for row in of_it)
    first, second = ([row for row in drawn if row[0] == c] for c in (1, 2))
    assert max(row[5] for row in first) < 1e-4
    assert min(row[5] for row in second) > 1e-6


def test_recall_is_told_of_failures_of_training(whole: Path) -> None:
    """The tiny model fails often. What it fails at was played to be learned from: no exam is in memory."""
    similar = [why for (why,) in rows(whole, "SELECT why FROM drawn WHERE why LIKE 'similar%'")]
    assert similar
    assert all(re.fullmatch(r"similar: cosine \d\.\d\d to a failure of (copycat|renamed)", why) for why in similar)
    assert not rows(whole, "SELECT id FROM episodes WHERE id LIKE '%exam%'")


def test_every_champion_is_a_folder_that_loads(whole: Path) -> None:
    """Both cycles were kept: the gate is off."""
    assert sorted(p.name for p in (whole / "adapters").iterdir()) == ["cycle-001", "cycle-002"]
    assert (whole / "finished").exists()
    assert main(["exam", "--dir", str(whole)]) == 0


def test_worlds_in_processes_of_their_own_change_nothing(stream: Path, whole: Path, folder: Path) -> None:
    assert run(stream, folder, "--set", "workers=2") == 0
    assert lasting(folder) == lasting(whole)
    for name in ("cycle-001", "cycle-002"):
        file = Path("adapters") / name / "adapter_model.safetensors"
        assert (folder / file).read_bytes() == (whole / file).read_bytes()


def test_nothing_is_lost_to_a_power_cut_where_that_is_asked_for(
    stream: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's `synchronous`: 1 is normal, 2 waits for the disk at every commit."""
    asked = []

    def look(opened: loop.Loop) -> None:
        asked.append(opened.database.execute("PRAGMA synchronous").fetchone()[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "run_stream", look)
    for more in ((), ("--set", "memory.durability=full")):
        shutil.rmtree(folder)
        assert run(stream, folder, *more) == 130
    assert asked == [1, 2]


def test_a_refused_candidate_leaves_no_adapter(stream: Path, folder: Path) -> None:
    """A gain of 0.99 is never sure."""
    assert (
        run(
            stream,
            folder,
            "--set",
            "gate.on=true",
            "--set",
            "gate.min_gain=0.99",
            "--set",
            "gate.min_exam=8",
            "--set",
            "gate.reload=same",
        )
        == 0
    )
    told = report(folder)
    assert [c["accepted"] for c in told["cycles"]] == [False, False]
    assert told["scores"][0] == told["scores"][2]
    assert not (folder / "adapters").exists()


def test_mlflow_has_the_timeline_and_a_run_for_each_cycle(whole: Path) -> None:
    ids = report(whole)["mlflow"]
    client = Tracker(whole).client
    timeline = client.get_run(ids["timeline_run_id"])
    assert timeline.info.status == "FINISHED"
    runs = client.search_runs([ids["experiment_id"]])
    names = sorted(r.info.run_name for r in runs)
    assert names == ["cycle 01 renamed promoted", "cycle 02 copycat promoted", "timeline"]
    assert str(client.get_model_version_by_alias("small", "champion").version) == "2"


def test_episodes_are_traced_on_the_page_of_their_cycle(whole: Path) -> None:
    """2 of each cycle's last round, and up to 2 failures of its exam; champion's episodes are not."""
    client, ids = Tracker(whole).client, report(whole)["mlflow"]
    found = [trace.info for trace in client.search_traces(locations=[ids["experiment_id"]], include_spans=False)]
    trained = [info for info in found if info.tags["holdtrue.role"] == "trained"]
    assert sorted(info.tags["holdtrue.cycle"] for info in trained) == ["1", "1", "2", "2"]
    assert {info.tags["holdtrue.role"] for info in found} <= {"trained", "exam failure"}
    for info in found:
        run = client.get_run(info.trace_metadata["mlflow.sourceRun"])
        assert run.data.tags["holdtrue.cycle"] == info.tags["holdtrue.cycle"]
    assert rows(whole, "SELECT count(*) FROM loop_outbox WHERE record LIKE '%\"traces\": [%'") == [(0,)]


class Stop:
    """Raises at the n-th call of what it stands for; before that, it does what that does."""

    def __init__(self, real: Callable[..., Any], call: int, error: BaseException) -> None:
        self.real, self.left, self.error = real, call, error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if not self.left:
            raise self.error
        return self.real(*args, **kwargs)


PLACES = {
    "before any cycle": (loop, "sit", 1),
    "rollout": (playing, "collect", 2),
    "memory": (ReplayMemory, "add", 4),
    "update": (Learner, "step", 2),
    "exam": (loop, "sit", 3),
    "gate": (candidates, "judge", 2),
    "adapter": (Policy, "save", 2),
    "commit": (Ledger, "commit", 3),
    "tracking": (Tracker, "record", 2),
    "tracking of the last": (Tracker, "record", 3),
}


@pytest.mark.parametrize("place", PLACES)
def test_stopped_anywhere_and_resumed_it_is_the_run_that_was_never_stopped(
    place: str, whole: Path, stream: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Ctrl-C in every phase: exit code 130, the command that goes on is said, the reports agree to a digit."""
    owner, name, call = PLACES[place]
    with monkeypatch.context() as patch:
        stop = Stop(getattr(owner, name), call, KeyboardInterrupt())
        patch.setattr(owner, name, lambda *args, **kwargs: stop(*args, **kwargs))
        assert run(stream, folder) == 130
    assert stop.left == 0
    assert f"Go on with:  holdtrue run {stream} --resume --dir {folder}" in capsys.readouterr().out
    assert not (folder / "finished").exists()
    assert run(stream, folder, "--resume") == 0
    assert lasting(folder) == lasting(whole)
    runs = Tracker(folder).client.search_runs([report(folder)["mlflow"]["experiment_id"]])
    assert len(runs) == 3


def test_a_fault_of_ours_is_not_swallowed_and_can_be_resumed(
    whole: Path, stream: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "judge", Stop(candidates.judge, 1, RuntimeError("a bug")))
        with pytest.raises(RuntimeError, match="a bug"):
            run(stream, folder)
    assert run(stream, folder, "--resume") == 0
    assert lasting(folder) == lasting(whole)


def test_a_run_goes_on_without_naming_its_stream_and_ends_once(whole: Path, capsys: pytest.CaptureFixture) -> None:
    """Its own copy of the settings is enough."""
    before = (whole / "report.json").read_bytes()
    assert main(["run", "--resume", "--dir", str(whole)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{whole} holds a finished run: there is nothing to resume.\n")
    assert "held-out success" in out
    assert (whole / "report.json").read_bytes() == before


def test_the_first_line_says_what_will_happen(
    stream: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tiny_folder: Path
) -> None:
    monkeypatch.setattr(loop, "sit", Stop(loop.sit, 1, KeyboardInterrupt()))
    assert run(stream, folder) == 130
    assert capsys.readouterr().out.splitlines()[0] == (
        f"Stream small (seed 0) in {folder}: model {tiny_folder}, 1,984 trainable parameters, 1 thread, "
        "2 planned cycles."
    )


def test_a_full_disk_is_said_and_the_run_goes_on_once_there_is_room(
    whole: Path, stream: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The disk has room for 32 of SQLite's pages; the run needs 41."""
    real = Database._configure

    def configure(self: Database, durability: str) -> None:
        real(self, durability)
        self.execute("PRAGMA max_page_count = 32")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_configure", configure)
        assert run(stream, folder) == 2
    assert capsys.readouterr().err == (
        f"holdtrue: {folder / 'run.db'}: the disk is full. What was committed is safe. "
        "Free some space and go on with --resume, or lower memory.capacity.\n"
    )
    assert run(stream, folder, "--resume") == 0
    assert lasting(folder) == lasting(whole)
