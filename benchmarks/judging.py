"""Judging: how often the gate errs, how soon drift is found, and what exam, tracking and checkpoint take of a cycle.

    python -m benchmarks.judging [--json FILE] [--quick]

The first two are simulated and judged by the code that judges a run (`judging_gate` and `judging_drift`, beside this).
The shares are those of a run of the default stream, the one that `benchmarks.default` makes if it is there already.
What a thousand cycles cost in MLflow has a benchmark of its own, `benchmarks.judging_record`.
"""

from benchmarks.judging_drift import drift_figures
from benchmarks.judging_gate import figures_of, shares_of
from benchmarks.runs import arguments, finish, machine, run

BARS = {"exam_share": 0.25, "tracking_share": 0.02, "checkpoint_share": 0.02}


def main() -> None:
    """Simulate, run, print the tables, write the figures."""
    given = arguments(__doc__ or "")
    print(f"{machine()}\n")
    figures: dict[str, float | None] = {**figures_of((100, 200 if given.quick else 2000))}
    print()
    figures |= drift_figures(given.quick)
    shares = shares_of(run("default", given.dir / "default-0", ["seed=0"]))
    print("\nshare of the seconds of the default stream's cycles")
    for name, share in shares.items():
        print(f"{name:20}{share:8.1%}   at most {BARS[name]:.0%}")
    finish(figures | shares, given.json)


if __name__ == "__main__":
    main()
