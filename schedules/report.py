"""What a run leaves behind: `report.json`, rewritten whole after every cycle, and its summary for the terminal."""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.report import UpdateReport
from envs.component import UserError
from schedules.matrix_json import to_json
from schedules.metrics import ScoreMatrix, forgetting_half_width, summary, turned, turnover

RUN_KEYS = (
    "stream", "seed", "seconds", "tasks", "regimes", "scores", "scores_ci", "cycles", "average_success", "forgetting",
    "backward_transfer", "forward_transfer", "memory", "mlflow", "exam", "variants", "turnover",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CycleReport:
    """One cycle, as it is told to people.

    Attributes:
        reason: why the cycle was due, in words.
        before: champion's success by live task, 0..1; None where it sat no exam.
        after: the candidate's, promoted or not.
        gain: the candidate's success on `task` less the champion's, on the seeds both sat; None where one sat none.
        decisions: actions chosen in this cycle, exams included.
        seconds: by phase.
        cost_multiplier: the price of a unit of cost at its end; None where cost has no bound.
        recalled: how many episodes each recall strategy drew for rehearsal.
        share: of the way from the champion to what was learned, of a promoted candidate; 1 is all of it.
        exam: `seeds_hash`, `episodes` of each regime, and `played`, all exam episodes of this cycle.
        variants: success of the champion after the verdict on variants, which no other figure counts.
        within: lowest success of each old task in exams within the update, where there were any.
        back_to: of a rollback, the row whose champion holds again; None of a cycle.
    """

    cycle: int
    task: str
    algorithm: str
    reason: str
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]
    update: UpdateReport
    accepted: bool
    verdict: str
    decisions: int
    seconds: Mapping[str, float]
    cost_multiplier: float | None = None
    recalled: Mapping[str, int] = field(default_factory=dict)
    share: float = 1.0
    exam: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, float | None] = field(default_factory=dict)
    within: Mapping[str, float] = field(default_factory=dict)
    back_to: int | None = None
    gain: float | None = None


def cycle_json(report: CycleReport) -> dict[str, Any]:
    """A cycle as JSON-able data: a number that is none (NaN, infinity) is null."""
    return plain(asdict(report))


def run_json(
    stream: str,
    seed: int,
    seconds: float,
    matrix: ScoreMatrix,
    cycles: Sequence[Mapping[str, Any]],
    memory: Mapping[str, int],
    mlflow: Mapping[str, str],
    exam: Mapping[str, Any],
    variants: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole report: exactly the keys of `RUN_KEYS`.

    Args:
        cycles: each as `cycle_json` gives it.
        memory: `episodes`, `steps`, `bytes`.
        mlflow: `tracking_uri`, `experiment_id`, `timeline_run_id`.
        exam: `seeds_hash`, `episodes`, `never_trained`.
        variants: `names`, and `scores` and `scores_ci` as those of the regimes.
    """
    return plain(
        {
            "stream": stream,
            "seed": seed,
            "seconds": seconds,
            "tasks": matrix.names,
            "regimes": to_json(matrix)["regimes"],
            "scores": matrix.scores,
            "scores_ci": matrix.half_widths,
            "cycles": cycles,
            **summary(matrix),
            "memory": memory,
            "mlflow": mlflow,
            "exam": exam,
            "variants": variants,
            "turnover": turnover(matrix),
        }
    )


def tracking_record(
    matrix: ScoreMatrix,
    time_ms: int,
    cycle: Mapping[str, Any] | None = None,
    curve: Sequence[Mapping[str, float]] = (),
    adapter: str = "",
    artifacts: Sequence[str] = (),
    reuse: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What `Tracker.record` needs of one cycle beside `history`, JSON-able, so that it can wait in an outbox.

    Args:
        matrix: all rows up to this cycle.
        time_ms: when the cycle ended, milliseconds since 1970; kept, so that sending twice writes the same points.
        cycle: as `cycle_json` gives it; None for the examination before any cycle.
        curve: metrics of each optimizer step, in order.
        adapter: folder of the new champion's adapter, relative to the run's folder; "" if there is none.
        artifacts: files to keep with the cycle, relative to the run's folder.
        reuse: share of what was asked of the model that needed no forward, 0..1, by what it was.
    """
    live = [cell for cell in matrix.rows[-1] if cell is not None]
    promoted = matrix.promoted
    return plain(
        {
            "cycle": len(matrix.rows) - 1,
            "time_ms": time_ms,
            "report": cycle,
            "standing": {
                "champion": promoted[-1] if promoted else None,
                "previous": promoted[-2] if len(promoted) > 1 else None,
            },
            "figures": {
                **summary(matrix),
                "forgetting_ci": forgetting_half_width(matrix),
                "worst_task": min((cell.mean for cell in live), default=None),
            },
            "curve": curve,
            "adapter": adapter,
            "artifacts": artifacts,
            "reuse": reuse or {},
        }
    )


def history(matrix: ScoreMatrix) -> dict[str, Any]:
    """The part of a tracking record that grows with the run: the ledger has it, so that no outbox need keep it."""
    return plain(
        {
            "tasks": matrix.names,
            "primary": matrix.primary,
            "accepted": matrix.accepted,
            "scores": matrix.scores,
            "scores_ci": matrix.half_widths,
            "turned": turned(matrix),
        }
    )


def write_report(path: Path, run: Mapping[str, Any]) -> None:
    """Replace the file at once: a reader, or a kill, sees the old report or the new one, never half of one.

    Raises:
        UserError: the disk is full or the folder cannot be written.
        ValueError: the keys are not those of `RUN_KEYS`.
    """
    if set(run) != set(RUN_KEYS):
        raise ValueError(f"report keys differ from the agreed ones: {sorted(set(run) ^ set(RUN_KEYS))}")
    text = json.dumps(plain(run), indent=1, allow_nan=False) + "\n"
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True) if temporary else None
        raise UserError(
            f"cannot write {path}: {error.strerror}. Make room or let the folder be written; the cycle itself is "
            "committed, and --resume goes on after it."
        ) from error


def plain(value: Any) -> Any:
    """JSON-able copy: arrays and tuples to lists, NumPy scalars to Python's, NaN and infinity to None."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ------------------------------------------------------------------------------------------------- for the terminal


def summary_table(run: Mapping[str, Any], folder: Path) -> RenderableType:
    """Before and after by task, forgetting, every verdict, and the command that opens MLflow on this run."""
    look = Text.assemble("Look closer:  ", (f"holdtrue ui --dir {folder}", "bold cyan"))
    parts: list[Table | Text] = [_tasks(run), _figures(run), _verdicts(run), look]
    return Group(*(Padding(part, (1, 0, 0, 1)) for part in parts))


def _tasks(run: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{run['stream']}, seed {run['seed']}: held-out success", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("task")
    for heading in ("before", "after", "change", "best"):
        table.add_column(heading, justify="right")
    table.add_column("", style="dim")
    for j, (task, regime) in enumerate(zip(run["tasks"], run["regimes"], strict=True)):
        there = [i for i, row in enumerate(run["scores"]) if row[j] is not None]
        if not there:
            table.add_row(task, "-", "-", "-", "-", "never examined")
            continue
        first, last = there[0], there[-1]
        cells = [f"{run['scores'][i][j]:.2f} ±{run['scores_ci'][i][j]:.2f}" for i in (first, last)]
        best = max(run["scores"][i][j] for i in there)
        table.add_row(
            task, *cells, _change(run["scores"][last][j] - run["scores"][first][j]), f"{best:.2f}", _note(run, regime)
        )
    variants = run["variants"]
    for j, name in enumerate(variants["names"]):
        seen = [row[j] for row in variants["scores"] if row[j] is not None]
        wide = [row[j] for row in variants["scores_ci"] if row[j] is not None]
        if seen:
            ends = [f"{seen[i]:.2f} ±{wide[i]:.2f}" for i in (0, -1)]
            table.add_row(name, *ends, _change(seen[-1] - seen[0]), f"{max(seen):.2f}", "a variant: examined only")
    return table


def _note(run: Mapping[str, Any], regime: Mapping[str, Any]) -> str:
    mine = [(str(c["cycle"]), c["accepted"]) for c in run["cycles"] if c["task"] == regime["name"]]
    cycles, refused = ([number for number, kept in mine if kept is wanted] for wanted in (True, False))
    notes = [
        "known to the pilot" if regime["known"] else "",
        f"appears at cycle {regime['added_at']}" if regime["added_at"] else "",
        f"gone from cycle {regime['replaced_at']}" if regime["replaced_at"] is not None else "",
        f"trained in {', '.join(cycles)}" if cycles else "",
        f"refused in {', '.join(refused)}" if refused else "",
        "never trained: what is learned elsewhere shows" if regime["name"] in run["exam"]["never_trained"] else "",
    ]
    return ", ".join(filter(None, notes))


def _change(change: float) -> Text:
    style = "green" if change > 0.005 else "red" if change < -0.005 else "dim"
    return Text(f"{change:+.2f}", style=style)


def _figures(run: Mapping[str, Any]) -> Text:
    names = ("average_success", "forgetting", "backward_transfer", "forward_transfer")
    told = [
        f"{name.replace('_', ' ')} {'none yet' if run[name] is None else format(run[name], '.3f')}" for name in names
    ]
    return Text("   ".join(told))


def _verdicts(run: Mapping[str, Any]) -> Table:
    table = Table(title="What was promoted or refused, and why", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("cycle", justify="right")
    table.add_column("trained")
    table.add_column("by")
    table.add_column("verdict")
    table.add_column("seconds", justify="right")
    for cycle in run["cycles"]:
        verdict = Text(cycle["verdict"], style="green" if cycle["accepted"] else "yellow")
        seconds = f"{sum(cycle['seconds'].values()):.0f}"
        table.add_row(str(cycle["cycle"]), cycle["task"], cycle["algorithm"], verdict, seconds)
    return table
