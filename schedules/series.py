"""What of a tracking record becomes which series, note and table: names that a person reads on MLflow's page."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def timeline_series(cycle: Mapping[str, Any]) -> dict[str, float | None]:
    """The few series a person wants, one point a cycle: about 20, however long the run.

    MLflow shows groups by alphabet: overall, success, wall_seconds.
    """
    report = cycle["report"]
    series = {f"success/{task}": score for task, score in zip(cycle["tasks"], cycle["scores"][-1], strict=True)}
    series |= {f"overall/{name}": cycle["figures"][name] for name in ("average_success", "forgetting", "worst_task")}
    if report is None:
        return series
    series |= {"overall/kl_old": report["update"]["kl_old_tasks"], "overall/promoted": float(report["accepted"])}
    series |= {f"wall_seconds/{phase}": seconds for phase, seconds in report["seconds"].items()}
    return series | {"overall/decisions": report["decisions"]}


def child_series(cycle: Mapping[str, Any]) -> dict[str, float | None]:
    """The detail of one cycle: both exams, what the update says of itself, who recalled, and what needed no forward."""
    report = cycle["report"]
    update = report["update"]
    series = {f"{side}/{task}": score for side in ("before", "after") for task, score in report[side].items()}
    series |= {f"update/{name}": value for name, value in update.items() if isinstance(value, int | float)}
    series |= {f"update/{name}": value for name, value in update["metrics"].items()}
    series |= {f"recalled/{name}": count for name, count in report.get("recalled", {}).items()}
    series |= {f"variant/{name}": score for name, score in report.get("variants", {}).items()}
    return series | {f"reuse/{name}": value for name, value in cycle["reuse"].items()}


def timeline_note(stream: str, cycle: Mapping[str, Any]) -> str:
    """What MLflow's page says at the top of the timeline, in Markdown."""
    known = {name: value for name, value in cycle["figures"].items() if value is not None}
    wide = {"forgetting": f" ± {known['forgetting_ci']:.3f}"} if "forgetting_ci" in known else {}
    told = [
        f"{name.replace('_', ' ')} **{value:.3f}**{wide.get(name, '')}"
        for name, value in known.items()
        if name != "forgetting_ci"
    ]
    verdict = cycle["report"]["verdict"] if cycle["report"] else "examined before any cycle"
    return (
        f"Stream **{stream}** after cycle {cycle['cycle']}: {', '.join(told)}.\n\nLast: {verdict}\n\n"
        "Model metrics: one point a cycle. Artifacts: `score_matrix.png`, `who_hurts_whom.png`, `learning_curve.png`. "
        "Child runs: one for each cycle."
    )


def write_csv(path: Path, cycle: Mapping[str, Any]) -> None:
    """The score matrix as a table: cycle, what it trained, the verdict, one column a regime; empty where it is not."""
    verdicts = ["" if kept is None else "promoted" if kept else "refused" for kept in (None, *cycle["accepted"])]
    rows: Sequence[Sequence[Any]] = [
        [i, task, verdict, *("" if score is None else score for score in scores)]
        for i, (task, verdict, scores) in enumerate(
            zip(("", *cycle["primary"]), verdicts, cycle["scores"], strict=True)
        )
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["cycle", "trained", "verdict", *cycle["tasks"]], *rows])


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
