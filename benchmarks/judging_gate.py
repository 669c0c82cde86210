"""How often the gate errs: simulated exams, judged by the very code that judges a run's.

    python -m benchmarks.judging_gate [--json FILE] [--quick] [--report FILE]

Five tasks are examined: the trained one, three old ones, and one that nobody has learned. Each has a true success; an
exam of 128 seeds is drawn from it. Champion and candidate meet the same seeds: a seed is harder or easier for both
(`PAIRING`). The champion is the last of four rows, so its best ever is the best of four lucky exams. What lies at a
share of the way from champion to candidate truly has that share of the change, and an exam of its own.

With `--report`, the shares of exam, tracking and checkpoint in the cycles of a run's `report.json`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.runs import finish, machine
from schedules.candidates import Case, Scores, decide
from schedules.comparison import ExamResult
from schedules.gate import GateSettings

SEEDS = 128
ROWS = 4
PAIRING = 0.3
"""Correlation of two adapters' luck on a seed. 0 is the hardest for the gate: nothing of the noise cancels."""
OLD = {"old": 0.95, "other": 0.9, "third": 0.8, "luck": 0.5}
GUARDED = ("new", "old", "other", "third")
TRUTHS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "worse": ({"new": 0.6, **OLD}, {"new": 0.8, **OLD, "old": 0.75}),
    "better": ({"new": 0.6, **OLD}, {"new": 0.8, **OLD}),
    "equal": ({"new": 0.6, **OLD}, {"new": 0.6, **OLD}),
    "equal, forgets half": ({"new": 0.6, **OLD}, {"new": 0.6, **OLD, "old": 0.85}),
}
BARS = {
    "worse": ("gate_worse_refused_of_100", "refused", 95),
    "better": ("gate_better_promoted_of_100", "promoted", 85),
    "equal": ("gate_equal_promoted_of_100", "promoted", 5),
}


@dataclass
class Drawn:
    """Implements `schedules.candidates.Candidate`: an agent of known success, with new luck at each share."""

    truth: Mapping[str, float]
    champion: Mapping[str, float]
    hard: Mapping[str, np.ndarray]
    rng: np.random.Generator
    share: float = 1.0
    episodes: int = 0
    whole: Scores = field(default_factory=dict)

    def move(self, share: float) -> None:
        """See `Candidate`."""
        self.share = share
        at = {task: (1 - share) * self.champion[task] + share * p for task, p in self.truth.items()}
        self.whole = drawn(at, self.hard, self.rng)

    def sit(self, tasks: Sequence[str], part: range) -> Scores:
        """See `Candidate`."""
        self.episodes += len(tasks) * len(part)
        cut = slice(part.start, part.stop)
        return {task: ExamResult(task, self.whole[task].seeds[cut], self.whole[task].success[cut]) for task in tasks}

    def behaviour(self) -> tuple[float | None, float]:
        """See `Candidate`."""
        return 0.01, 1.0


def drawn(truth: Mapping[str, float], hard: Mapping[str, np.ndarray], rng: np.random.Generator) -> Scores:
    """One exam of every task."""
    scores = {}
    for task, success in truth.items():
        luck = PAIRING**0.5 * hard[task] + (1 - PAIRING) ** 0.5 * rng.standard_normal(SEEDS)
        right = luck < NormalDist().inv_cdf(success)
        scores[task] = ExamResult(task, tuple(range(SEEDS)), tuple(map(bool, right)))
    return scores


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate: where on the way it was promoted (0: nowhere), and exam episodes it took."""

    share: float
    episodes: int


def judged(truth: str, settings: GateSettings, stop_early: bool, rng: np.random.Generator) -> Outcome:
    """One candidate from its exams to its verdict."""
    before, after = TRUTHS[truth]
    hard = {task: rng.standard_normal(SEEDS) for task in before}
    rows = [drawn(before, hard, rng) for _ in range(ROWS)]
    best = {task: max((row[task] for row in rows), key=lambda cell: cell.mean) for task in before}
    held = {task: rows[-1][task] for task in GUARDED}
    candidate = Drawn(after, before, hard, rng)
    case = Case(settings, "new", held, best, tuple(before), SEEDS, stop_early)
    verdict = decide(case, candidate)[1]
    return Outcome(verdict.share if verdict.accepted else 0.0, candidate.episodes)


def simulated(truth: str, count: int, stop_early: bool = True, shares: Sequence[float] = (0.75, 0.5)) -> list[Outcome]:
    """`count` candidates, the same ones whatever is asked of the gate as far as they have the same exams."""
    settings = GateSettings(interpolate=tuple(shares))
    return [judged(truth, settings, stop_early, np.random.default_rng([k, *truth.encode()])) for k in range(count)]


def shares_of(report: Mapping[str, Any]) -> dict[str, float]:
    """Shares of exam, tracking and checkpoint in the seconds of a run's cycles, 0..1, from its `report.json`."""
    spent: dict[str, float] = {}
    for cycle in report["cycles"]:
        for phase, seconds in cycle["seconds"].items():
            spent[phase] = spent.get(phase, 0.0) + seconds
    total = sum(spent.values())
    return {f"{phase}_share": spent.get(phase, 0.0) / total for phase in ("exam", "tracking", "checkpoint")}


def figures_of(counts: tuple[int, int]) -> dict[str, float]:
    """Print the table for `counts` = (the bar's 100, more for precision); returns the figures."""
    few, many = counts
    whole = SEEDS * (len(OLD) + 1)
    figures: dict[str, float] = {}
    print(f"{'truly':22}{'promoted of ' + str(few):>18}{'of ' + str(many):>10}{'whole way':>11}{'a share':>9}", end="")
    print(f"{'exam episodes':>15}{'not ended early':>17}")
    for truth in TRUTHS:
        outcomes, full = simulated(truth, many), simulated(truth, many, stop_early=False)
        kept = [outcome.share > 0 for outcome in outcomes]
        least, share = sum(kept[:few]), float(np.mean(kept))
        alone = float(np.mean([outcome.share == 1 for outcome in outcomes]))
        episodes, all_of_it = (float(np.mean([o.episodes for o in some])) for some in (outcomes, full))
        print(f"{truth:22}{least:>18}{100 * share:>10.1f}{100 * alone:>11.1f}{100 * (share - alone):>9.1f}", end="")
        print(f"{episodes:>9.0f}/{whole}{all_of_it:>13.0f}/{whole}")
        if truth in BARS:
            key, told, _ = BARS[truth]
            figures[key] = 100 * least / few if told == "promoted" else 100 * (1 - least / few)
            figures[f"{key}_precise"] = 100 * share if told == "promoted" else 100 * (1 - share)
        figures[f"gate_{truth.split(',')[0]}_exam_spared"] = 1 - episodes / all_of_it
    return figures


def main() -> None:
    """Simulate, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures there, flat")
    parser.add_argument("--quick", action="store_true", help="fewer exams, to see that it works; quote nothing of it")
    parser.add_argument("--report", type=Path, help="report.json of a default run: where its cycles' seconds went")
    given = parser.parse_args()
    print(f"simulated exams of {SEEDS} seeds, {len(OLD) + 1} tasks; {machine()}\n")
    figures = figures_of((100, 200 if given.quick else 2000))
    if given.report is not None:
        shares = shares_of(json.loads(given.report.read_text()))
        print("\n" + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
        figures |= shares
    finish(figures, given.json)


if __name__ == "__main__":
    main()
