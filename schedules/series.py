"""What of a tracking record becomes which series, note and table: names that a person reads on MLflow's page."""

import csv
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from schedules.figures import SHOWN

VERDICTS = {"promoted": 1.0, "refused": 0.0, "rolled back": -1.0}


def verdict_of(report: Mapping[str, Any]) -> str:
    """What became of the champion, in a word: a key of `VERDICTS`."""
    if report.get("back_to") is not None:
        return "rolled back"
    return "promoted" if report["accepted"] else "refused"


def timeline_series(cycle: Mapping[str, Any]) -> dict[str, float | None]:
    """The few series a person wants, one point a cycle: about 20, however long the run and however many its tasks.

    Of more than `SHOWN` tasks the first of the stream have a series of their own; the rest are in the average, in the
    worst, and in the children. MLflow shows groups by alphabet: drift, overall, success, wall_seconds.
    """
    report, drift = cycle["report"], cycle.get("drift")
    scores = zip(cycle["tasks"], cycle["scores"][-1], strict=True)
    series = {f"success/{task}": score for task, score in islice(scores, SHOWN)}
    series |= {f"overall/{name}": cycle["figures"][name] for name in ("average_success", "forgetting", "worst_task")}
    if drift:
        largest = max((value for value in drift["statistic"].values() if value is not None), default=None)
        series |= {"drift/statistic": largest, "drift/alarms": drift["alarms"]}
    if report is None:
        return series
    series |= {"overall/kl_old": report["update"]["kl_old_tasks"], "overall/promoted": VERDICTS[verdict_of(report)]}
    known = {phase: seconds for phase, seconds in report["seconds"].items() if phase != "tracking"}  # it goes on
    return series | {f"wall_seconds/{phase}": seconds for phase, seconds in known.items()}


def child_series(cycle: Mapping[str, Any]) -> dict[str, float | None]:
    """The detail of one cycle: both exams, what the update says of itself, who recalled, and what needed no forward."""
    report = cycle["report"]
    update = report["update"]
    series = {f"{side}/{task}": score for side in ("before", "after") for task, score in report[side].items()}
    series |= {f"update/{name}": value for name, value in update.items() if isinstance(value, int | float)}
    series |= {f"update/{name}": value for name, value in update["metrics"].items()}
    series |= {f"recalled/{name}": count for name, count in report.get("recalled", {}).items()}
    series |= {f"drift/{task}": value for task, value in (cycle.get("drift") or {}).get("statistic", {}).items()}
    series |= {f"lost/{task}": lost for task, (lost, _) in zip(cycle["tasks"], _turned(cycle), strict=True)}
    series |= {f"won/{task}": won for task, (_, won) in zip(cycle["tasks"], _turned(cycle), strict=True)}
    series |= {"update/decisions": report["decisions"]}
    series |= {f"variant/{name}": score for name, score in report.get("variants", {}).items()}
    return series | {f"reuse/{name}": value for name, value in cycle["reuse"].items()}


def _turned(cycle: Mapping[str, Any]) -> Sequence[tuple[float | None, float | None]]:
    """Exam seeds (lost, won) by task in this cycle."""
    return cycle["turned"][-1] if cycle["turned"] else [(None, None)] * len(cycle["tasks"])


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
    tasks = len(cycle["tasks"])
    hidden = f" Tasks beyond the first {SHOWN} of {tasks}: in the child runs." if tasks > SHOWN else ""
    return (
        f"Stream **{stream}** after cycle {cycle['cycle']}: {', '.join(told)}.\n\nLast: {verdict}\n\n"
        f"Model metrics: one point a cycle.{hidden} Artifacts: `score_matrix.png`, `who_hurts_whom.png`, "
        f"`turnover.png`, `learning_curve.png`{', `drift_timeline.png`' if cycle.get('story') else ''}. "
        "Child runs: one for each cycle."
    )


def write_csv(path: Path, cycle: Mapping[str, Any]) -> None:
    """The score matrix as a table: cycle, what it trained, the verdict, one column a regime; empty where it is not."""
    told = {True: "promoted", False: "refused", None: "rolled back"}
    verdicts = ["", *(told[kept] for kept in cycle["accepted"])]
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
