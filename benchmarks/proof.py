"""RL, DPO, their hybrid and its controls on the worlds of the stream `proof`: success, cost, forgetting, flops.

python -m benchmarks.proof

Two runs lie side by side on a thread each, so that no seconds are told: what is counted does not depend on a clock.
"""

import numpy as np

from benchmarks.runs import Report, arguments, finish, machine, side_by_side, spread
from schedules.config import load_stream

ARMS = ("rl", "dpo", "alternate", "measured")


def main() -> None:
    """Run every arm on every seed, print the table, write the figures."""
    given = arguments(__doc__ or "")
    seeds = (0,) if given.quick else (0, 1, 2)
    cycles = len(load_stream("proof").cycles)
    chosen = {arm: [f"cycles.{number}.update.choose={arm}" for number in range(cycles)] for arm in ARMS}
    reports = side_by_side("proof", given.dir, chosen, seeds)
    print(f"stream proof, seeds {', '.join(map(str, seeds))}; {machine()}\n")
    figures: dict[str, float | None] = {}
    for arm in ARMS:
        figures |= _tell(arm, reports[arm])
    finish(figures, given.json)


def _tell(arm: str, reports: list[Report]) -> dict[str, float | None]:
    """Print an arm's rows; its figures."""
    tasks = {
        regime["name"]: [report["scores"][-1][j] for report in reports]
        for j, regime in enumerate(reports[0]["regimes"])
        if reports[0]["scores"][-1][j] is not None
    }
    cycles = [cycle for report in reports for cycle in report["cycles"]]
    costs = [[c["update"]["metrics"]["cost_last"] for c in r["cycles"] if c["task"] == "hazard"][-1] for r in reports]
    rows: dict[str, list[float]] = {
        **tasks,
        "full, when learned": [_best(report, "full") for report in reports],
        "cost an episode of hazard, last round": costs,
        "average success": [report["average_success"] for report in reports],
        "forgetting": [report["forgetting"] for report in reports],
        "promoted of all cycles": [float(np.mean([c["accepted"] for c in report["cycles"]])) for report in reports],
        "thousand decisions": [sum(c["decisions"] for c in report["cycles"]) / 1e3 for report in reports],
        "teraflop of updates": [sum(c["update"]["flops"] for c in report["cycles"]) / 1e12 for report in reports],
    }
    for name, values in rows.items():
        print(f"{arm:10}{name:40}{spread(values):>24}", flush=True)
    shares = [c["update"]["algorithm"] == "hybrid/rl" for c in cycles]
    print(f"{arm:10}{'cycles that took RL':40}{sum(shares):>17} of {len(shares)}\n")
    return {f"{arm}_{name.replace(' ', '_')}": float(np.median(values)) for name, values in rows.items()}


def _best(report: Report, task: str) -> float:
    """The best score of a regime that may be gone by the end."""
    column = report["tasks"].index(task)
    return max(row[column] for row in report["scores"] if row[column] is not None)


if __name__ == "__main__":
    main()
