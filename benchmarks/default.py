"""The default stream on three seeds against its bars: learned, kept, not forgotten, refused what forgets, in time.

python -m benchmarks.default
"""

import numpy as np

from benchmarks.runs import Report, arguments, finish, machine, run, spread

HURRIED = 1
"""Place of the cycle that is made to go wrong, from 0."""


def main() -> None:
    """Run, print the table, write the figures."""
    given = arguments(__doc__ or "")
    seeds = (0,) if given.quick else (0, 1, 2)
    reports = [run("default", given.dir / f"default-{seed}", [f"seed={seed}"]) for seed in seeds]
    figures: dict[str, float | None] = {}
    print(f"default stream, seeds {', '.join(map(str, seeds))}; {machine()}\n")
    print(f"{'task':14}{'before':>22}{'after':>22}   median (range)")
    for j, regime in enumerate(reports[0]["regimes"]):
        before, after = column(reports, j, 0), column(reports, j, -1)
        figures |= {f"{regime['name']}_before_max": max(before), f"{regime['name']}_after_min": min(after)}
        known = "   known to the pilot" if regime["known"] else ""
        print(f"{regime['name']:14}{spread(before):>22}{spread(after):>22}{known}")
    for name in ("forgetting", "average_success"):
        values = [report[name] for report in reports]
        figures[name] = float(np.median(values))
        print(f"{name}: {spread(values)}")
    walls = [report["wall"] for report in reports]
    figures["wall_seconds"] = float(np.median(walls))
    print(f"seconds, whole process: {spread(walls)}")
    for cycle in reports[0]["cycles"]:
        spent = ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in cycle["seconds"].items() if seconds >= 0.5)
        print(f"  cycle {cycle['cycle']} {cycle['task']}, {cycle['decisions']} decisions, seconds: {spent}")
    hurried = [report["cycles"][HURRIED] for report in reports]
    figures["hurried_refused"] = float(np.mean([not cycle["accepted"] for cycle in hurried]))
    print("the cycle that is made to go wrong:")
    for seed, cycle in zip(seeds, hurried, strict=True):
        print(f"  seed {seed}: {cycle['verdict']}")
    finish(figures, given.json)


def column(reports: list[Report], regime: int, row: int) -> list[float]:
    """A regime's score in one row of every report."""
    return [report["scores"][row][regime] for report in reports]


if __name__ == "__main__":
    main()
