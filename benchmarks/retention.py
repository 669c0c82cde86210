"""What memory is good for: the stream `long`, without it, with the known bad way to use it, and with the good ones.

    python -m benchmarks.retention [--json FILE] [--quick]

Five arms on the same seeds, two runs at once on a thread each; the gate is off, so that nothing but memory stands
against forgetting. What an arm costs is told in seconds of a core (user and system), which a neighbour hardly moves.
"""

import numpy as np
from scipy import stats

from benchmarks.runs import Report, arguments, finish, machine, side_by_side, spread
from schedules.config import load_stream

REVIEW = 0.25
ARMS: dict[str, dict[str, object]] = {
    "no memory": {"rehearsal_weight": 0.0},
    "replay through the loss": {"rehearsal_weight": 0.0, "type": "benchmarks.stale_replay"},
    "KL rehearsal": {},
    "review": {"rehearsal_weight": 0.0, "review": REVIEW},
    "both": {"review": REVIEW},
}
"""What differs from the stream's own updates."""
FIGURES = ("forgetting", "average_success")


def main() -> None:
    """Run every arm on every seed, print the table, write the figures."""
    given = arguments(__doc__ or "")
    seeds = (0,) if given.quick else (0, 1, 2)
    print(f"stream long, seeds {', '.join(map(str, seeds))}; {machine()}\n", flush=True)
    arms = {arm.replace(" ", "_"): settings(changes) for arm, changes in ARMS.items()}
    figures: dict[str, float | None] = {}
    for arm, reports in side_by_side("long", given.dir, arms, seeds).items():
        figures |= {f"{arm.lower()}_{name}": value for name, value in tell(arm.replace("_", " "), reports).items()}
    finish(figures, given.json)


def settings(changes: dict[str, object]) -> list[str]:
    """What an arm overrides."""
    count = len(load_stream("long").cycles)
    of_updates = [f"cycles.{n}.update.{name}={value}" for n in range(count) for name, value in changes.items()]
    return ["gate.on=false", *of_updates]


def tell(arm: str, reports: list[Report]) -> dict[str, float | None]:
    """Print an arm's rows; its figures."""
    ends = {task: [r["scores"][-1][j] for r in reports] for j, task in enumerate(reports[0]["tasks"])}
    learned = [np.mean([cycle["after"][cycle["task"]] for cycle in r["cycles"]]) for r in reports]
    rows = {name: [report[name] for report in reports] for name in FIGURES}
    rows |= {"success when learned": learned, **ends, "seconds of a core": [r["cpu"] for r in reports]}
    for name, values in rows.items():
        print(f"{arm:26}{name:24}{spread(values):>24}   {half_width(values):.3f}", flush=True)
    print()
    told: dict[str, float | None] = {name: float(np.mean(rows[name])) for name in FIGURES}
    told |= {f"{name}_ci": half_width(rows[name]) for name in FIGURES}
    return told | {"seconds": float(np.median(rows["seconds of a core"])), "learned": float(np.mean(learned))}


def half_width(values: list[float]) -> float:
    """Of the 95 % interval of the mean over seeds, by Student's t; not a number for one seed."""
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
