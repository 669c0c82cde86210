"""A run's folder without a model: a ledger of cycles with made-up scores, adapters that are only files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.report import UpdateReport
from memory.database import Database
from memory.schema import MIGRATIONS
from schedules.checkpoint import Committed, Ledger
from schedules.comparison import ExamResult
from schedules.config import StreamSettings, effective
from schedules.metrics import ScoreMatrix
from schedules.record import matrix_of
from schedules.report import CycleReport, cycle_json, history, tracking_record
from schedules.timeline import last_row, timeline
from schedules.tracking import Tracker

NOON = 1_800_000_000_000
WORLD = {"id": "envs.copycat:Copycat-v0", "success": {"info": "success"}}
SEEDS = 20


def stream(cycles: Sequence[str] = ("new", "goto", "new")) -> StreamSettings:
    """Two regimes, the first of them known."""
    settings = {
        "stream": "made",
        "regimes": {"goto": {"known": True, "world": WORLD}, "new": {"world": WORLD}},
        "cycles": [{"task": task, "update": {"type": "grpo"}} for task in cycles],
    }
    return effective(StreamSettings.model_validate(settings))


def exam(**right: int) -> dict[str, ExamResult]:
    """So many of `SEEDS` right."""
    return {t: ExamResult(t, tuple(range(SEEDS)), tuple(k < r for k in range(SEEDS))) for t, r in right.items()}


def whole(matrix: ScoreMatrix, *rest: Any) -> dict[str, Any]:
    """A tracking record as MLflow is told it: with the history that the ledger keeps."""
    return {**tracking_record(matrix, *rest), **history(matrix)}


class Made:
    """Commits cycles one after the other, as a loop does, and writes each promoted adapter first."""

    def __init__(self, folder: Path, new: bool = True) -> None:
        self.folder = folder
        self.stream = stream()
        self.database = Database(folder / "run.db")
        self.database.migrate("memory", MIGRATIONS)
        self.ledger = Ledger(self.database)
        self.ledger.bind({"stream": self.stream.model_dump(mode="json"), "libraries": {"torch": "2"}})
        self.matrix = ScoreMatrix.start(timeline(self.stream), exam(goto=19, new=4))
        if new:
            self._commit(None, "")

    @classmethod
    def again(cls, folder: Path) -> "Made":
        """The run that lies there."""
        made = cls(folder, new=False)
        made.matrix = matrix_of(made.ledger, made.stream)
        return made

    def cycle(self, task: str, accepted: bool, **right: int) -> None:
        """One cycle more."""
        number = len(self.matrix.rows)
        self.matrix = self.matrix.extended(task, accepted, exam(**right))
        folder = f"adapters/cycle-{number:03d}"
        if accepted:
            (self.folder / folder).mkdir(parents=True)
            (self.folder / folder / "adapter_model.safetensors").write_bytes(bytes([number]) * 64)
        update = UpdateReport("grpo", 3, 512, 256, 0.02, 0.004, metrics={"entropy": 0.5})
        scores = {name: count / SEEDS for name, count in right.items()}
        report = CycleReport(
            number, task, "grpo", "planned", scores, scores, update, accepted, "promoted" if accepted else "refused",
            640, {"rollout": 2.0, "update": 1.0},
        )  # fmt: skip
        self._commit(report, folder if accepted else self.ledger.cycles()[-1].champion)

    def _commit(self, report: CycleReport | None, champion: str) -> None:
        number = len(self.matrix.rows) - 1
        told: dict[str, Any] = cycle_json(report) if report else {"cycle": 0, "seconds": {}}
        adapter = champion if report and report.accepted else ""
        record = tracking_record(self.matrix, NOON + number, told if report else None, adapter=adapter)
        self.ledger.commit(Committed(number, told, last_row(self.matrix), champion), record)

    def close(self) -> None:
        """Let others in."""
        self.database.close()


def three_cycles(folder: Path) -> None:
    """Promoted (new learned), refused, promoted (goto lost, new better)."""
    made = Made(folder)
    made.cycle("new", True, goto=18, new=14)
    made.cycle("goto", False, goto=2, new=2)
    made.cycle("new", True, goto=8, new=17)
    made.close()


def aliases(folder: Path) -> dict[str, str]:
    """The cycles whose adapters the registry's aliases name."""
    client = Tracker(folder).client
    found = client.search_registered_models("name = 'made'")
    named = {alias: client.get_model_version("made", version) for alias, version in found[0].aliases.items()}
    return {alias: version.tags["holdtrue.cycle"] for alias, version in named.items()}
