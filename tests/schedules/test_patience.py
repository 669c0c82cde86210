"""Refusals in a row: counted from the reports, answered by smaller steps, then by a pause, whenever it was stopped."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streams import small_stream, write_stream

from agent.learner import UpdateSettings
from envs.component import UserError
from schedules import patience
from schedules.checkpoint import Ledger
from schedules.cli import main
from schedules.config import CyclePlan, load_stream
from schedules.gate import GateSettings
from schedules.patience import eased, pause, refusals, slower, stop_if_paused


def told(*cycles: tuple[str, bool]) -> list[dict[str, Any]]:
    return [{"cycle": i, "task": task, "accepted": kept} for i, (task, kept) in enumerate(cycles, 1)]


def test_only_cycles_of_the_task_count_and_a_promotion_ends_the_row() -> None:
    reports = told(("a", False), ("a", True), ("a", False), ("b", True), ("a", False), ("b", False))
    assert refusals(reports, "a") == 2
    assert refusals(reports, "b") == 1
    assert refusals(reports, "c") == 0
    assert refusals([], "a") == 0


def test_every_learning_rate_is_slower_and_nothing_else() -> None:
    grpo = {"type": "grpo", "learning_rate": 0.004, "rounds": 4, "kl_target": None}
    update = {"type": "stages", "stages": [grpo, {"type": "hybrid", "rl": grpo, "dpo": {"learning_rate": 0.002}}]}
    slow = slower(update, 0.25)
    assert slow["stages"][0] == {**grpo, "learning_rate": 0.001}
    assert slow["stages"][1] == {"type": "hybrid", "rl": slow["stages"][0], "dpo": {"learning_rate": 0.0005}}
    assert update["stages"][0] is grpo
    assert grpo["learning_rate"] == 0.004, "the stream's own settings stay"


@pytest.fixture(scope="module")
def stream(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cycles of one task, none of which can gain 0.99; two refusals pause it."""
    plan = small_stream(tiny_folder)["cycles"][0]
    plan["update"]["rounds"] = 1
    gate = {"min_gain": 0.99, "min_exam": 8, "reload": "same", "patience": 1}
    settings = small_stream(tiny_folder, cycles=[plan] * 5, gate=gate)
    return write_stream(tmp_path_factory.mktemp("stream") / "small.yaml", settings)


def begin(stream: Path, folder: Path, migrated: Path) -> int:
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    return main(["run", str(stream), "--dir", str(folder)])


def resume(folder: Path) -> int:
    return main(["run", "--resume", "--dir", str(folder)])


def reasons(folder: Path) -> list[str]:
    return [cycle["reason"] for cycle in json.loads((folder / "report.json").read_text())["cycles"]]


def test_it_slows_pauses_says_how_to_go_on_and_does(
    stream: Path, tmp_path: Path, migrated: Path, capsys: pytest.CaptureFixture
) -> None:
    """Paused after 2 and after 4 refusals; who resumes goes on, at a quarter of the rate, then at a sixteenth."""
    folder = tmp_path / "run"
    assert begin(stream, folder, migrated) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "holdtrue: the stream is paused after cycle 2: 2 candidates of renamed were refused in a row (gate.patience is"
    )
    assert f"holdtrue run --resume --dir {folder}" in said
    assert not (folder / "finished").exists()
    assert resume(folder) == 2
    assert "after cycle 4: 4 candidates" in capsys.readouterr().err
    assert resume(folder) == 0
    assert reasons(folder) == [
        "planned: cycle 1 of 5",
        "planned: cycle 2 of 5; learning rate x 0.5 after 1 refusals in a row",
        "planned: cycle 3 of 5; learning rate x 0.25 after 2 refusals in a row",
        "planned: cycle 4 of 5; learning rate x 0.125 after 3 refusals in a row",
        "planned: cycle 5 of 5; learning rate x 0.0625 after 4 refusals in a row",
    ]


def test_killed_before_the_pause_was_told_it_is_told_on_resume(
    stream: Path, tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "run"
    real = Ledger.note

    def killed(self: Ledger, name: str, value: Any) -> None:
        if name == patience.PAUSED:
            raise KeyboardInterrupt
        real(self, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note", killed)
        assert begin(stream, folder, migrated) == 130
    capsys.readouterr()
    assert resume(folder) == 2
    assert "after cycle 2" in capsys.readouterr().err
    assert len(reasons(folder)) == 2


def test_without_patience_nothing_is_slowed_or_paused() -> None:
    reports = told(*[("a", False)] * 12)
    committed = [SimpleNamespace(report=report) for report in [{}, *reports]]
    plan = CyclePlan(task="a", update={"type": "grpo"})
    for gate, changed in ((GateSettings(patience=None), False), (GateSettings(), True)):
        loop = SimpleNamespace(stream=SimpleNamespace(gate=gate), committed=committed, folder="run", goes_on="resume")
        reports[-1]["verdict"] = "refused: no gain"
        assert (eased(loop, plan, "planned") != (plan, "planned")) is changed
        assert bool(pause(loop)) is changed
    assert GateSettings().patience == 3


def test_a_rollback_is_no_refusal() -> None:
    """Six rollbacks in a row, or one behind five refusals, pause nothing; the sixth refusal behind it does."""
    taken_back = {"task": "", "accepted": False, "cycle": 9, "verdict": "rolled back", "back_to": 0}
    five = told(*[("a", False)] * 5)
    for reports, paused in (
        ([taken_back] * 6, False),
        ([*five, taken_back], False),
        ([*five, taken_back, five[0]], True),
    ):
        committed = [SimpleNamespace(report=report) for report in [{}, *reports]]
        stream = SimpleNamespace(gate=GateSettings())
        loop = SimpleNamespace(stream=stream, committed=committed, folder="run", goes_on="resume")
        reports[-1].setdefault("verdict", "refused")
        assert bool(pause(loop)) is paused


def test_a_rollback_pauses_nothing_again() -> None:
    """Six refusals paused the run, and that was told; then a rollback made row 7. Who resumes has read why already."""
    facts: dict[str, Any] = {}
    ledger = SimpleNamespace(fact=facts.get, note=facts.__setitem__)
    reports = [{**report, "verdict": "refused"} for report in told(*[("a", False)] * 6)]
    taken_back = {"task": "", "accepted": False, "cycle": 7, "verdict": "rolled back", "back_to": 0}

    def resumed(reports: list[dict[str, Any]]) -> Any:
        committed = [SimpleNamespace(report=report) for report in [{}, *reports]]
        stream = SimpleNamespace(gate=GateSettings())
        return SimpleNamespace(
            stream=stream, committed=committed, next_cycle=len(committed), folder="run", goes_on="resume", ledger=ledger
        )

    with pytest.raises(UserError, match="paused after cycle 6"):
        stop_if_paused(resumed(reports))
    stop_if_paused(resumed(reports))
    stop_if_paused(resumed([*reports, taken_back]))
    assert facts == {patience.PAUSED: 6}


def test_a_rate_that_is_not_written_is_slowed_all_the_same() -> None:
    """`load_stream` fills in every default, also within stages: there is always a rate to slow."""
    written = "cycles.0.update=[{type: sft}, {type: hybrid}]"
    slow = slower(load_stream("forgetting", [written]).cycles[0].update, 0.5)
    first, second = slow["stages"]
    assert (
        first["learning_rate"]
        == load_stream("forgetting", [written]).cycles[0].update["stages"][0]["learning_rate"] / 2
    )
    assert second["rl"]["learning_rate"] == UpdateSettings().learning_rate / 2
