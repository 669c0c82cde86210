"""What earlier cycles tell this one: what they gained is counted on the seeds that both sides sat."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from streams import small_stream, write_stream

from agent.lesson import Trial
from agent.report import UpdateReport
from schedules import cycle
from schedules.checkpoint import Committed
from schedules.cli import main
from schedules.comparison import ExamResult, gain_on
from schedules.gate import Verdict
from schedules.loop import Loop
from schedules.remembered import trials
from schedules.report import CycleReport, cycle_json

BEFORE = {"new": ExamResult("new", (1, 2, 3, 4), (True, False, False, False))}
HALF = {"new": ExamResult("new", (1, 2), (True, False))}
"""The same two seeds as before, with the same outcome: nothing gained, though 1 of 2 is more than 1 of 4."""


def told(task: str = "new", **changes: Any) -> dict[str, Any]:
    update = UpdateReport("hybrid/rl", 3, 512, 256, 0.02, 0.004, flops=7.0)
    report = CycleReport(1, task, "hybrid/rl", "planned", {"new": 0.25}, {"new": 0.5}, update, False, "no", 64, {})
    return cycle_json(report) | changes


def past(*reports: dict[str, Any]) -> list[Trial]:
    first = Committed(0, {"cycle": 0, "seconds": {}}, {}, "")
    committed = [first, *(Committed(i, report, {}, "") for i, report in enumerate(reports, 1))]
    return trials(cast(Loop, SimpleNamespace(committed=committed)), "new")


def test_half_an_exam_is_compared_with_the_same_half() -> None:
    assert gain_on("new", BEFORE, HALF) == 0.0
    assert HALF["new"].mean - BEFORE["new"].mean == 0.25, "the control: unpaired, it seems a gain"
    assert gain_on("new", BEFORE, {}) is None
    assert gain_on("new", {}, HALF) is None


def test_a_trial_is_what_its_report_says_was_gained() -> None:
    assert past(told(gain=0.0)) == [Trial("hybrid/rl", 0.0, 7.0)]
    assert past(told(gain=None), told("goto", gain=0.5)) == [], "nothing was examined, or another task"


def test_an_older_report_has_only_its_means() -> None:
    old = told()
    del old["gain"]
    assert past(old) == [Trial("hybrid/rl", 0.25, 7.0)]
    assert past(old | {"after": {}}) == []


def test_a_cycle_that_was_refused_halfway_reports_the_paired_gain(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By decree the champion has the first of 8 seeds right, and the candidate sat 4 of them with the same outcome."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")

    def decide(case: Any, candidate: Any) -> tuple[dict[str, ExamResult], Verdict]:
        held = case.champion[case.task]
        half = ExamResult(case.task, held.seeds[:4], held.success[:4])
        return {case.task: half}, Verdict(False, "refused early: by decree")

    def exam(self: Loop) -> dict[str, ExamResult]:
        return {name: ExamResult(name, tuple(range(8)), (True,) + (False,) * 7) for name in self.live(self.next_cycle)}

    monkeypatch.setattr(cycle, "decide", decide)
    monkeypatch.setattr(Loop, "champion_exam", exam)
    stream = write_stream(tmp_path / "small.yaml", small_stream(tiny_folder))
    assert main(["run", str(stream), "--dir", str(folder)]) == 0
    first, _ = json.loads((folder / "report.json").read_text())["cycles"]
    assert (first["before"]["renamed"], first["after"]["renamed"]) == (0.125, 0.25)
    assert first["gain"] == 0.0
