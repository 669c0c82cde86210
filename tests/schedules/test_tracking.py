"""MLflow's record of a run: what is there, and that sending again changes nothing. One migrated database is copied."""

import csv
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from ledgers import whole

from agent.report import UpdateReport
from envs.component import UserError
from schedules.comparison import ExamResult
from schedules.delivery import deliver
from schedules.metrics import Regime, ScoreMatrix
from schedules.report import CycleReport, cycle_json
from schedules.series import flat
from schedules.tracking import Tracker, TrackingIds, page, tracking_uri, ui_command

ROWS = [{"goto": 98, "exchanged": 31}, {"goto": 96, "exchanged": 93}, {"goto": 96, "exchanged": 93}]
NOON = 1_800_000_000_000


def filled(folder: Path, migrated: Path) -> Path:
    """A run's folder with the files its records name."""
    shutil.copy(migrated, folder / "mlflow.db")
    for cycle in (1, 3):
        adapter = folder / f"adapters/cycle-{cycle:03d}"
        adapter.mkdir(parents=True)
        (adapter / "adapter_model.safetensors").write_bytes(bytes([cycle]) * 64)
    (folder / "episode.txt").write_text("a picture would be here")
    return folder


def started(folder: Path) -> Tracker:
    tracker = Tracker(folder)
    tracker.start("default", {"seed": 0, "gate": {"on": True, "max_loss": 0.1}})
    return tracker


@pytest.fixture
def folder(migrated: Path, tmp_path: Path) -> Path:
    return filled(tmp_path, migrated)


@pytest.fixture
def tracker(folder: Path) -> Tracker:
    return started(folder)


@pytest.fixture(scope="module")
def recorded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A whole run, only to be looked at."""
    tracker = started(filled(tmp_path_factory.mktemp("recorded"), migrated))
    for record in records():
        tracker.record(record)
    return tracker


def exam(row: dict[str, int]) -> dict[str, ExamResult]:
    return {t: ExamResult(t, tuple(range(100)), tuple(k < r for k in range(100))) for t, r in row.items()}


def records() -> list[dict[str, Any]]:
    """Examined; promoted; refused; promoted: as they would come out of the outbox, through JSON."""
    matrix = ScoreMatrix.start((Regime("goto", known=True), Regime("exchanged")), exam(ROWS[0]))
    made = [whole(matrix, NOON)]
    for cycle, accepted in ((1, True), (2, False), (3, True)):
        matrix = matrix.extended("exchanged", accepted, exam(ROWS[min(cycle, 2)]))
        update = UpdateReport("grpo", 3, 512, 256, 0.02, 0.004, metrics={"entropy": 0.5})
        scores = {"goto": 0.9, "exchanged": 0.5}
        told = "promoted: all well" if accepted else "refused: no gain"
        seconds = {"rollout": 2.0, "update": 1.0}
        report = CycleReport(
            cycle, "exchanged", "grpo", "planned", scores, scores, update, accepted, told, 640, seconds,
            recalled={"age": 3},
        )  # fmt: skip
        adapter = f"adapters/cycle-{cycle:03d}" if accepted else ""
        curve = [{"loss": 1.0, "kl": 0.0}, {"loss": 0.5, "kl": 0.1}]
        made.append(whole(matrix, NOON + cycle, cycle_json(report), curve, adapter, ["episode.txt"], {"pictures": 0.5}))
    return json.loads(json.dumps(made))


def contents(tracker: Tracker) -> dict[str, Any]:
    """Everything a page could show, for comparison."""
    client, ids = tracker.client, ids_of(tracker)
    runs = client.search_runs([ids.experiment_id], order_by=["attributes.start_time ASC"])
    return {
        "runs": [(r.info.run_id, r.info.run_name, r.info.status, r.data.params, r.data.tags) for r in runs],
        "points": [
            (
                r.info.run_id,
                name,
                [(p.step, p.value, p.timestamp) for p in client.get_metric_history(r.info.run_id, name)],
            )
            for r in runs
            for name in sorted(r.data.metrics)
        ],
        "versions": [(v.name, v.version, v.run_id, v.source) for v in client.search_model_versions()],
        "aliases": [{a: str(v) for a, v in m.aliases.items()} for m in client.search_registered_models()],
    }


def ids_of(tracker: Tracker) -> TrackingIds:
    assert tracker.ids is not None
    return tracker.ids


def history(tracker: Tracker, name: str) -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in tracker.client.get_metric_history(ids_of(tracker).timeline_run_id, name)]


def test_timeline_has_few_series_and_every_cycle(recorded: Tracker) -> None:
    timeline = recorded.client.get_run(ids_of(recorded).timeline_run_id)
    assert timeline.info.run_name == "timeline"
    assert timeline.data.params == {"seed": "0", "gate.on": "True", "gate.max_loss": "0.1"}
    assert history(recorded, "success/exchanged") == [(0, 0.31), (1, 0.93), (2, 0.93), (3, 0.93)]
    assert history(recorded, "overall/promoted") == [(1, 1.0), (2, 0.0), (3, 1.0)]
    assert history(recorded, "overall/kl_old") == [(1, 0.004), (2, 0.004), (3, 0.004)]
    assert history(recorded, "overall/forgetting")[0][0] == 1, "before any gap there is no forgetting, not even 0"
    assert len(timeline.data.metrics) <= 20
    assert "average success **0.945**" in timeline.data.tags["mlflow.note.content"]


def test_children_hold_the_detail(recorded: Tracker) -> None:
    ids = ids_of(recorded)
    children = recorded.client.search_runs(
        [ids.experiment_id],
        f"tags.`mlflow.parentRunId` = '{ids.timeline_run_id}'",
        order_by=["attributes.run_name ASC"],
    )
    assert [child.info.run_name for child in children] == [
        "cycle 01 exchanged promoted", "cycle 02 exchanged refused", "cycle 03 exchanged promoted",
    ]  # fmt: skip
    first = children[0]
    assert first.info.status == "FINISHED"
    assert first.info.end_time - first.info.start_time == 3000
    assert first.data.metrics["update/entropy"] == 0.5
    assert first.data.metrics["reuse/pictures"] == 0.5
    assert first.data.metrics["before/goto"] == 0.9
    assert first.data.metrics["recalled/age"] == 3
    steps = recorded.client.get_metric_history(first.info.run_id, "step/loss")
    assert [(p.step, p.value) for p in steps] == [(1, 1.0), (2, 0.5)]
    assert "promoted: all well" in first.data.tags["mlflow.note.content"]
    kept = {item.path for item in recorded.client.list_artifacts(first.info.run_id)}
    assert kept == {"adapter", "episode.txt"}


def test_pictures_and_table_lie_on_the_timeline(recorded: Tracker) -> None:
    ids = ids_of(recorded)
    kept = {item.path for item in recorded.client.list_artifacts(ids.timeline_run_id)}
    drawn = {"score_matrix.png", "who_hurts_whom.png", "turnover.png", "learning_curve.png"}
    assert kept == drawn | {"score_matrix.csv"}
    place = recorded.folder / "mlartifacts" / ids.timeline_run_id / "artifacts"
    assert (place / "score_matrix.png").read_bytes().startswith(b"\x89PNG")
    with (place / "score_matrix.csv").open() as file:
        table = list(csv.reader(file))
    assert table[0] == ["cycle", "trained", "verdict", "goto", "exchanged"]
    assert table[1:3] == [["0", "", "", "0.98", "0.31"], ["1", "exchanged", "promoted", "0.96", "0.93"]]
    assert len(table) == 5


def test_only_the_gate_moves_champion(tracker: Tracker) -> None:
    _, promoted, refused, promoted_again = records()
    tracker.record(promoted)
    tracker.record({**refused, "adapter": "adapters/cycle-001"})
    assert contents(tracker)["aliases"] == [{"champion": "1"}], (
        "a refused adapter may be kept, as a version without alias"
    )
    tracker.record(promoted_again)
    assert contents(tracker)["aliases"] == [{"champion": "3", "previous": "1"}]
    source = tracker.client.get_model_version_by_alias("default", "champion").source
    assert Path(source.removeprefix("file://"), "adapter_model.safetensors").read_bytes() == bytes([3]) * 64


def test_sending_again_changes_nothing(recorded: Tracker) -> None:
    before = contents(recorded)
    for record in records():
        recorded.record(record)
    assert contents(recorded) == before
    resumed = Tracker(recorded.folder)
    assert resumed.start("default", {"seed": 0}) == ids_of(recorded)
    for record in records():
        resumed.record(record)
    assert contents(resumed) == before


@pytest.mark.parametrize("broken", ["_draw", "_align", "_record_child"])
def test_killed_half_way_and_sent_again(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A kill at any part of a record, then the record again: no point doubled, one child, one version a cycle."""
    sent = records()
    tracker.record(sent[1])
    whole = getattr(Tracker, broken)

    def killed(self: Tracker, *args: Any) -> None:
        whole(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, broken, killed)
        with pytest.raises(KeyboardInterrupt):
            tracker.record(sent[3])
    tracker.record(sent[3])
    found = contents(tracker)
    assert len(found["runs"]) == 3
    assert all(status == "FINISHED" for _, name, status, *_ in found["runs"] if name != "timeline")
    assert all(len(set(points)) == len(points) for _, _, points in found["points"])
    assert [version for _, version, *_ in sorted(found["versions"])] == [1, 2]
    assert found["aliases"] == [{"champion": "2", "previous": "1"}]
    assert history(tracker, "overall/promoted") == [(1, 1.0), (3, 1.0)]


def test_mlflow_away_keeps_records_for_later(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            tracker.client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError("database is locked"))
        )
        told = deliver(tracker, "default", {}, records, arrived.append, lambda: 0)
    assert "did not take cycle 0 (database is locked)" in told
    assert arrived == []
    assert deliver(tracker, "default", {}, records, arrived.append, lambda: 0) == ""
    assert arrived == [0, 1, 2, 3]


def test_status_is_told(tracker: Tracker, folder: Path) -> None:
    def status(of: Tracker) -> str:
        return of.client.get_run(ids_of(of).timeline_run_id).info.status

    assert status(tracker) == "RUNNING"
    tracker.finish("KILLED")
    assert status(tracker) == "KILLED"
    resumed = Tracker(folder)
    resumed.start("default", {})
    assert status(resumed) == "RUNNING"


def test_a_cycle_is_recorded_in_well_under_its_share(tracker: Tracker) -> None:
    sent = records()
    tracker.record(sent[1])
    began = time.process_time()
    tracker.record(sent[3])
    assert time.process_time() - began < 2.0, "seconds of a core; about 0.6"


def test_odd_names_and_long_values_are_no_obstacle(folder: Path) -> None:
    name = "gö (left↔right)"
    tracker = Tracker(folder)
    ids = tracker.start("odd", {"regimes": {name: {"known": True}}, "cycles": ["x" * 9000]})
    matrix = ScoreMatrix.start((Regime(name, known=True),), exam({name: 50}))
    tracker.record(whole(matrix, NOON))
    assert history(tracker, "success/g_ _left_right_") == [(0, 0.5)]
    params = tracker.client.get_run(ids.timeline_run_id).data.params
    assert params["regimes.g_ _left_right_.known"] == "True"
    assert params["cycles"].startswith("['xxx")


def test_record_before_start_is_an_error_of_the_program(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Tracker\.start comes before"):
        Tracker(folder).record(records()[0])


def test_nothing_is_reported_home(tracker: Tracker) -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert ids_of(tracker).tracking_uri.startswith("sqlite:////")


def test_the_page_is_served_on_this_machine_only(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    command = ui_command(folder, 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--workers") + 1] == "1"
    assert command[command.index("--backend-store-uri") + 1] == tracking_uri(folder)
    address = page(TrackingIds("", "1", "abc"), 5001)
    assert address.startswith("http://127.0.0.1:5001/#/experiments/1/runs/abc/model-metrics")
    with pytest.raises(UserError, match=r"holds no MLflow record.*holdtrue run default"):
        ui_command(tmp_path_factory.mktemp("empty"))


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}
