"""`report.json`: the agreed keys, no NaN, never half written; and the summary a person reads at the end."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agent.report import UpdateReport
from envs.component import UserError
from schedules.comparison import ExamResult
from schedules.metrics import Regime, ScoreMatrix
from schedules.report import (
    CycleReport,
    cycle_json,
    plain,
    run_json,
    summary_table,
    tracking_record,
    write_report,
)


def exam(**right: int) -> dict[str, ExamResult]:
    return {t: ExamResult(t, tuple(range(100)), tuple(k < r for k in range(100))) for t, r in right.items()}


def cycle(number: int, accepted: bool, verdict: str) -> CycleReport:
    update = UpdateReport("grpo", 12, 512, 256, float("nan"), None, metrics={"loss": float("inf"), "entropy": 0.5})
    seconds = {"rollout": 3.0, "update": 2.5}
    before, after = {"goto": 0.98, "exchanged": 0.31}, {"goto": 0.96, "exchanged": 0.93}
    return CycleReport(number, "exchanged", "grpo", "planned", before, after, update, accepted, verdict, 640, seconds)


@pytest.fixture
def matrix() -> ScoreMatrix:
    regimes = (Regime("goto", known=True), Regime("exchanged"), Regime("cards", added_at=2))
    matrix = ScoreMatrix.start(regimes, exam(goto=98, exchanged=31))
    matrix = matrix.extended("exchanged", True, exam(goto=96, exchanged=93))
    return matrix.extended("exchanged", False, exam(goto=50, exchanged=90, cards=40))


@pytest.fixture
def run(matrix: ScoreMatrix) -> dict[str, Any]:
    cycles = [
        cycle_json(cycle(1, True, "promoted: exchanged 0.31 -> 0.93")),
        cycle_json(cycle(2, False, "refused: goto fell")),
    ]
    memory = {"episodes": 10, "steps": 80, "bytes": 12345}
    mlflow = {"tracking_uri": "sqlite:////x", "experiment_id": "1", "timeline_run_id": "abc"}
    exam_facts = {"seeds_hash": "ab", "episodes": 100, "never_trained": ["cards"]}
    variants = {"names": ["goto/dark"], "scores": [[0.9], [None], [0.8]], "scores_ci": [[0.05], [None], [0.06]]}
    return run_json("default", 0, 12.5, matrix, cycles, memory, mlflow, exam_facts, variants)


def test_keys_and_nulls(run: dict[str, Any], tmp_path: Path) -> None:
    """The keys of the design; a regime not there and a KL that is no number are null."""
    write_report(tmp_path / "report.json", run)
    text = (tmp_path / "report.json").read_text()
    read = json.loads(text)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert list(read) == [
        "stream", "seed", "seconds", "tasks", "regimes", "scores", "scores_ci", "cycles", "average_success",
        "forgetting", "backward_transfer", "forward_transfer", "memory", "mlflow", "exam", "variants", "turnover",
    ]  # fmt: skip
    assert read["scores"] == [[0.98, 0.31, None], [0.96, 0.93, None], [0.96, 0.93, 0.40]]
    assert read["scores_ci"][0][2] is None
    assert read["regimes"][0] == {"name": "goto", "known": True, "added_at": 0, "replaced_at": None}
    assert read["forward_transfer"] is None
    assert read["average_success"] == pytest.approx((0.96 + 0.93 + 0.40) / 3)
    first = read["cycles"][0]
    assert set(first) == {
        "cycle", "task", "algorithm", "reason", "before", "after", "update", "accepted", "verdict", "decisions",
        "seconds", "cost_multiplier", "recalled", "share", "exam", "variants", "within", "back_to", "gain",
    }  # fmt: skip
    assert first["update"]["kl_new"] is None
    assert first["update"]["metrics"] == {"loss": None, "entropy": 0.5}


def test_wrong_keys_are_refused(run: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'forgetting'"):
        write_report(tmp_path / "report.json", {k: v for k, v in run.items() if k != "forgetting"})
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_the_old_report(run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the new one is written: the old one stays whole, nothing half lies about."""
    path = tmp_path / "report.json"
    write_report(path, run)
    old = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*--resume"):
        write_report(path, {**run, "seed": 1})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_missing_folder_is_told(run: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory"):
        write_report(tmp_path / "gone" / "report.json", run)


def test_summary_says_what_a_person_wants(run: dict[str, Any], tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(summary_table(run, tmp_path))
    text = console.export_text()
    assert "exchanged   0.31 ±0.09   0.93 ±0.05    +0.62" in text
    assert "trained in 1, refused in 2" in text
    assert "promoted: exchanged 0.31 -> 0.93" in text
    assert "refused: goto fell" in text
    assert "forgetting 0.010" in text, "goto lost 0.02, exchanged nothing since it was trained"
    assert "forward transfer none yet" in text
    assert "holdtrue ui --dir" in text


def test_tracking_record_travels_as_json(matrix: ScoreMatrix) -> None:
    record = tracking_record(
        matrix, 1_700_000_000_000, cycle_json(cycle(2, False, "refused")), [{"loss": float("nan")}]
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["cycle"] == 2
    assert record["figures"]["worst_task"] == 0.40
    assert record["curve"] == [{"loss": None}]


def test_plain() -> None:
    mixed = {"a": np.float32(0.5), "b": (np.nan, 1), "c": np.array([[1, 2]]), 3: [np.bool_(True), None, "x"]}
    assert plain(mixed) == {"a": 0.5, "b": [None, 1], "c": [[1, 2]], "3": [True, None, "x"]}
