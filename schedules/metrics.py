"""The score matrix, and what is read off it: forgetting and transfer, defined once.

A column of the matrix is a *regime* (a task in one state of drift). Row 0 is the pilot before any cycle, row `i` the
champion after cycle i's verdict, so a refused cycle copies its row. A cycle *trains* its primary regime if it was
accepted. A *gap* of a regime is a pair of rows `(a, b)`: `a` a training of it (or the regime's first row, if the stream
marks it as known), `b` the row before its next training, else the last row; only gaps with `b > a` count.

A rollback is a row of its own: the scores of the champion that holds again. It trains nothing, and what it took back
is out of force: still to be seen in the matrix, but neither a training nor a best score any more.

Pure NumPy, no clock, no files. An empty mean is None, never 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from schedules.comparison import ExamResult, discordant


@dataclass(frozen=True, slots=True)
class Regime:
    """A column of the matrix.

    Attributes:
        known: the stream says that the pilot has this skill already, so it can be forgotten before it is trained.
        added_at: the first row in which the regime is there.
        replaced_at: the first row in which it is gone, or None. From there on its column is empty.
    """

    name: str
    known: bool = False
    added_at: int = 0
    replaced_at: int | None = None

    def live(self, row: int) -> bool:
        """Whether the regime is there in `row`."""
        return self.added_at <= row and (self.replaced_at is None or row < self.replaced_at)


Row = tuple[ExamResult | None, ...]


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """Per-seed outcomes of every champion on every regime; `primary[i - 1]` and `accepted[i - 1]` are cycle i's.

    Attributes:
        accepted: None, with an empty `primary`, where row i is a rollback.
        rolled_back: of each rollback its row, and the row whose champion holds again.
    """

    regimes: tuple[Regime, ...]
    rows: tuple[Row, ...]
    primary: tuple[str, ...] = ()
    accepted: tuple[bool | None, ...] = ()
    rolled_back: tuple[tuple[int, int], ...] = ()

    @classmethod
    def start(cls, regimes: Sequence[Regime], exam: Mapping[str, ExamResult]) -> "ScoreMatrix":
        """Row 0: the pilot before any cycle."""
        return cls(tuple(regimes), (_row(regimes, exam, 0),))

    def extended(self, task: str, accepted: bool, exam: Mapping[str, ExamResult]) -> "ScoreMatrix":
        """One cycle more. `exam` is the new champion's; after a refusal only regimes new in this row are read from it.

        Raises:
            ValueError: `task` is no regime of this matrix.
        """
        if task not in self.names:
            raise ValueError(f"no regime '{task}' in the score matrix: {', '.join(self.names)}")
        last = {cell.task: cell for cell in self.rows[-1] if cell is not None}
        row = _row(self.regimes, exam if accepted else {**exam, **last}, len(self.rows))
        return replace(self, rows=(*self.rows, row), primary=(*self.primary, task), accepted=(*self.accepted, accepted))

    def returned(self, to: int) -> "ScoreMatrix":
        """One row more: the champion of row `to` holds again. What it never sat an exam of is empty until it does."""
        here = len(self.rows)
        row = _row(self.regimes, {cell.task: cell for cell in self.rows[to] if cell is not None}, here)
        back = (*self.rolled_back, (here, to))
        return ScoreMatrix(self.regimes, (*self.rows, row), (*self.primary, ""), (*self.accepted, None), back)

    @property
    def in_force(self) -> list[int]:
        """The rows that lead to the last champion, in order: those that a rollback took back are left out."""
        back, row, found = dict(self.rolled_back), len(self.rows) - 1, []
        while row >= 0:
            found.append(row)
            row = back.get(row, row - 1)
        return found[::-1]

    @property
    def promoted(self) -> list[int]:
        """The cycles whose adapters lead to the last champion: its own is the last."""
        return [row for row in self.in_force if row and self.accepted[row - 1]]

    def with_regimes(self, regimes: Sequence[Regime]) -> "ScoreMatrix":
        """The same rows, of columns that begin or end elsewhere from here on."""
        return replace(self, regimes=tuple(regimes))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(regime.name for regime in self.regimes)

    @property
    def scores(self) -> np.ndarray:
        """Float64 `[rows, regimes]`, 0..1, NaN where a regime is not yet or no longer there."""
        return np.array([[np.nan if c is None else c.mean for c in row] for row in self.rows])

    @property
    def half_widths(self) -> np.ndarray:
        """95 % half-widths of `scores`, same shape."""
        return np.array([[np.nan if c is None else c.half_width for c in row] for row in self.rows])

    def trainings(self, name: str) -> list[int]:
        """The cycles that trained `name`: accepted, in force, and it was their primary regime."""
        return [cycle for cycle in self.promoted if self.primary[cycle - 1] == name]

    @property
    def skills(self) -> frozenset[str]:
        """Regimes that can be forgotten: known to the pilot, or trained."""
        return frozenset(regime.name for regime in self.regimes if regime.known or self.trainings(regime.name))

    def best_ever(self) -> dict[str, ExamResult]:
        """For each regime that is there in the last row: the best exam any champion in force sat on it."""
        live = [j for j, regime in enumerate(self.regimes) if regime.live(len(self.rows) - 1)]
        rows = [self.rows[i] for i in self.in_force]
        seen = {self.names[j]: [cell for row in rows if (cell := row[j]) is not None] for j in live}
        return {name: max(cells, key=lambda cell: cell.mean) for name, cells in seen.items() if cells}


def _row(regimes: Sequence[Regime], exam: Mapping[str, ExamResult], row: int) -> Row:
    return tuple(exam.get(regime.name) if regime.live(row) else None for regime in regimes)


def average_success(matrix: ScoreMatrix) -> float | None:
    """Mean over live regimes of the last row."""
    return _mean(cell.mean for cell in matrix.rows[-1] if cell is not None)


def forgetting(matrix: ScoreMatrix, split: bool = True) -> float | None:
    """Mean over gaps of `max_{a <= i < b} R[i] - R[b]`; may be negative.

    The best row is picked on every other exam seed and the difference taken on the rest, then swapped, and averaged:
    picked and measured on the same seeds (`split=False`), noise alone shows as about +0.05.
    A gap that ends in an empty cell (the regime was replaced) says nothing and is left out.
    """
    return _mean(float(_forgotten(outcomes[None], split)[0]) for _, outcomes in _gap_outcomes(matrix))


def forgetting_half_width(matrix: ScoreMatrix, draws: int = 1000, seed: int = 0) -> float | None:
    """95 % half-width of `forgetting` by bootstrap over exam seeds, each half of the split drawn within itself."""
    totals = []
    drawn: dict[tuple[int, int], list[np.ndarray]] = {}  # gaps of one regime share their seeds, so they share the draw
    for column, outcomes in _gap_outcomes(matrix):
        key = (column, outcomes.shape[1])
        if key not in drawn:
            drawn[key] = _counts(np.random.default_rng([seed, column]), outcomes.shape[1], draws)
        halves = outcomes[:, 0::2], outcomes[:, 1::2]
        totals.append(_lost(*(n @ half.T / half.shape[1] for n, half in zip(drawn[key], halves, strict=True))))
    if not totals:
        return None
    low, high = np.quantile(np.mean(totals, axis=0), [0.025, 0.975])
    return float(high - low) / 2


def _counts(rng: np.random.Generator, seeds: int, draws: int) -> list[np.ndarray]:
    """How often each seed of either half is drawn, float64 `[draws, half]` each: a product then gives all means."""
    counts = []
    for half in (seeds - seeds // 2, seeds // 2):
        drawn = rng.choice(half, (draws, half)) + half * np.arange(draws)[:, None]
        counts.append(np.bincount(drawn.ravel(), minlength=draws * half).reshape(draws, half).astype(float))
    return counts


def backward_transfer(matrix: ScoreMatrix) -> float | None:
    """Mean over gaps of `R[b] - R[a]`: negative is a loss."""
    scores = matrix.scores
    return _mean(scores[b, j] - scores[a, j] for j, a, b in gaps(matrix))


def forward_transfer(matrix: ScoreMatrix) -> float | None:
    """Mean over regimes first trained in cycle `f >= 2` of `R[f - 1] - R[0]`: what other trainings gave it."""
    scores = matrix.scores
    first = [(j, trained[0]) for j, name in enumerate(matrix.names) if (trained := matrix.trainings(name))]
    return _mean(scores[f - 1, j] - scores[0, j] for j, f in first if f >= 2)


def who_hurts_whom(matrix: ScoreMatrix) -> np.ndarray:
    """Float64 `[cycles, regimes]`: what each cycle did to each regime, `R[i] - R[i - 1]`; NaN where one is empty."""
    return np.diff(matrix.scores, axis=0)


def turnover(matrix: ScoreMatrix) -> list[dict[str, tuple[int, int]]]:
    """For each cycle and regime: exam seeds that went (right -> wrong, wrong -> right). Averages hide it."""
    return [
        {r.name: (int(lost), int(won)) for r, (lost, won) in zip(matrix.regimes, row, strict=True) if lost == lost}
        for row in turned(matrix)
    ]


def turned(matrix: ScoreMatrix) -> np.ndarray:
    """`turnover` as float64 `[cycles, regimes, 2]` (right -> wrong, wrong -> right); NaN where a cell is empty."""
    table = np.full((max(len(matrix.rows) - 1, 0), len(matrix.regimes), 2), np.nan)
    for i, (before, after) in enumerate(pairwise(matrix.rows)):
        for j, (old, new) in enumerate(zip(before, after, strict=True)):
            if old is not None and new is not None:  # most rows of a long run are copies: those need no counting
                table[i, j] = (0, 0) if old == new else discordant(old, new)[1::-1]
    return table


def summary(matrix: ScoreMatrix) -> dict[str, float | None]:
    """The four figures of the report."""
    figures = (average_success, forgetting, backward_transfer, forward_transfer)
    return {figure.__name__: figure(matrix) for figure in figures}


def gaps(matrix: ScoreMatrix) -> list[tuple[int, int, int]]:
    """All gaps as `(column, a, b)`, as defined at the top of this file."""
    last = len(matrix.rows) - 1
    found = []
    for j, regime in enumerate(matrix.regimes):
        trained = matrix.trainings(regime.name)
        begins = [next((row for row in matrix.in_force if row >= regime.added_at), last)] if regime.known else []
        starts = sorted({*begins, *trained})
        ends = [next((t - 1 for t in trained if t > a), last) for a in starts]
        found += [(j, a, b) for a, b in zip(starts, ends, strict=True) if b > a]
    return found


def _gap_outcomes(matrix: ScoreMatrix) -> list[tuple[int, np.ndarray]]:
    """(column, bool `[rows a..b, seeds]`) for each gap that has its end row and one row before it."""
    found = []
    in_force = matrix.in_force
    for j, a, b in gaps(matrix):
        cells = [cell for i in in_force if a <= i <= b and (cell := matrix.rows[i][j]) is not None]
        if matrix.rows[b][j] is None or len(cells) < 2:
            continue
        shared = set.intersection(*(set(cell.seeds) for cell in cells))
        if len(shared) < 2:
            raise ValueError(f"exams of {matrix.names[j]} share fewer than two seeds: they cannot be compared")
        found.append((j, np.array([_on(cell, shared) for cell in cells])))
    return found


def _forgotten(outcomes: np.ndarray, split: bool) -> np.ndarray:
    """Best earlier row minus the last row: bool `[draws, rows, seeds]` -> float64 `[draws]`."""
    if not split:
        means = outcomes.mean(axis=2)
        return means[:, :-1].max(axis=1) - means[:, -1]
    return _lost(outcomes[:, :, 0::2].mean(axis=2), outcomes[:, :, 1::2].mean(axis=2))


def _lost(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """The best row picked on one half of the seeds and measured on the other: float64 `[draws, rows]` -> `[draws]`."""
    draws = np.arange(len(even))
    losses = [
        measured[draws, picked[:, :-1].argmax(axis=1)] - measured[:, -1]
        for picked, measured in ((even, odd), (odd, even))
    ]
    return (losses[0] + losses[1]) / 2


def _mean(values: Iterable[float]) -> float | None:
    kept = [float(v) for v in values if np.isfinite(v)]
    return sum(kept) / len(kept) if kept else None


def _on(result: ExamResult, seeds: set[int]) -> list[bool]:
    """Outcomes on `seeds`, in the order of the exam."""
    return [right for seed, right in zip(result.seeds, result.success, strict=True) if seed in seeds]
