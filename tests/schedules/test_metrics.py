"""The metrics of the score matrix, on numbers worked out by hand, and the traps they are made to avoid.

Worked example (T = 4, a row a champion): A is known and never trained, B trained in cycles 1 and 4, C in 2.

    row   0    1    2    3    4      gaps           best before b   - R[b]    R[b] - R[a]
    A   .98  .95  .70  .65  .62      (0, 4)         .98             .36       -.36
    B   .30  .90  .40  .35  .88      (1, 3)         .90             .55       -.55
    C   .30  .35  .85  .80  .60      (2, 4)         .85             .25       -.25

forgetting = (.36 + .55 + .25) / 3 = .387, backward_transfer = -.387, forward_transfer = .35 - .30 (C only) = .05.
"""

from itertools import pairwise

import numpy as np
import pytest

from schedules.comparison import ExamResult, gain, gain_lower_bound, sign_test
from schedules.matrix_json import cell_from_json, cell_json, from_json, to_json
from schedules.metrics import (
    Regime,
    ScoreMatrix,
    average_success,
    backward_transfer,
    forgetting,
    forgetting_half_width,
    forward_transfer,
    gaps,
    summary,
    turnover,
    who_hurts_whom,
)

COLUMNS = {"A": [98, 95, 70, 65, 62], "B": [30, 90, 40, 35, 88], "C": [30, 35, 85, 80, 60]}
REGIMES = (Regime("A", known=True), Regime("B"), Regime("C"))


def exam(task: str, right: int, seeds: int = 100) -> ExamResult:
    """`right` of `seeds` went right, spread over the exam in an order of their own."""
    order = np.random.default_rng(len(task)).permutation(seeds)
    return ExamResult(task, tuple(range(seeds)), tuple(bool(order[k] < right) for k in range(seeds)))


def worked() -> ScoreMatrix:
    rows = [{name: exam(name, column[i]) for name, column in COLUMNS.items()} for i in range(5)]
    matrix = ScoreMatrix.start((*REGIMES, Regime("D")), rows[0])
    for task, row in zip("BCDB", rows[1:], strict=True):  # cycle 3 trains a regime that sits no exam
        matrix = matrix.extended(task, True, row)
    return matrix


def noisy(rng: np.random.Generator, cycles: int = 8, seeds: int = 60, success: float = 0.8) -> ScoreMatrix:
    """Nothing is ever forgotten: every exam of the one known regime is drawn anew with the same success."""

    def drawn() -> dict[str, ExamResult]:
        return {"A": ExamResult("A", tuple(range(seeds)), tuple(map(bool, rng.random(seeds) < success)))}

    matrix = ScoreMatrix.start((Regime("A", known=True), Regime("B")), drawn())
    for _ in range(cycles):
        matrix = matrix.extended("B", True, drawn())
    return matrix


def test_worked_example() -> None:
    matrix = worked()
    assert gaps(matrix) == [(0, 0, 4), (1, 1, 3), (2, 2, 4), (3, 3, 4)]
    assert forgetting(matrix, split=False) == pytest.approx(0.387, abs=5e-4)
    assert backward_transfer(matrix) == pytest.approx(-0.387, abs=5e-4)
    assert forward_transfer(matrix) == pytest.approx(0.05)
    assert average_success(matrix) == pytest.approx((0.62 + 0.88 + 0.60) / 3)
    assert who_hurts_whom(matrix)[1, :3] == pytest.approx([-0.25, -0.50, 0.50])


def test_split_agrees_with_the_worked_example_where_the_best_row_is_clear() -> None:
    assert forgetting(worked()) == pytest.approx(0.387, abs=0.03)


def test_split_by_hand() -> None:
    """Four seeds, rows 1100, 0011, 1000 as even|odd places: even picks row 0 (1/2, tie with row 1, the earlier wins).

    even places (0, 2): 1/2, 1/2, 1/2; odd places (1, 3): 1/2, 1/2, 0. Either way 1/2 - last:

    (1/2 - 0 + 1/2 - 1/2) / 2.
    """
    rows = [(True, True, False, False), (False, False, True, True), (True, False, False, False)]
    matrix = ScoreMatrix.start((Regime("A", known=True),), {"A": ExamResult("A", (4, 5, 6, 7), rows[0])})
    for row in rows[1:]:
        matrix = matrix.extended("A", False, {})
        matrix = ScoreMatrix(
            matrix.regimes, (*matrix.rows[:-1], (ExamResult("A", (4, 5, 6, 7), row),)), matrix.primary, matrix.accepted
        )
    assert forgetting(matrix) == pytest.approx(0.25)


def test_noise_is_not_forgetting() -> None:
    """Trap: picked and measured on the same seeds, noise shows as forgetting; split, it averages to nothing."""
    matrices = [noisy(np.random.default_rng(k)) for k in range(200)]
    split = [forgetting(m) for m in matrices]
    naive = [forgetting(m, split=False) for m in matrices]
    assert abs(np.mean(split)) < 0.015
    assert np.mean(naive) > 0.05


def test_interval_covers_the_truth() -> None:
    """True forgetting is 0: about 95 of 100 intervals must hold it; 85 is below what a right one gives by chance."""
    held = 0
    for k in range(100):
        matrix = noisy(np.random.default_rng(1000 + k))
        held += abs(forgetting(matrix)) <= forgetting_half_width(matrix, draws=200)
    assert held >= 85
    assert forgetting_half_width(matrix, draws=50) == forgetting_half_width(matrix, draws=50)


def test_a_learner_that_learns_nothing_forgets_nothing() -> None:
    matrix = ScoreMatrix.start(REGIMES, {n: exam(n, 50) for n in "ABC"})
    for _ in range(3):
        matrix = matrix.extended("B", False, {n: exam(n, 10) for n in "ABC"})
    assert forgetting(matrix) == 0
    assert backward_transfer(matrix) == 0
    assert np.array_equal(who_hurts_whom(matrix), np.zeros((3, 3)))
    assert all(a == b for a, b in pairwise(matrix.rows)), "a refused cycle copies its row"
    assert matrix.trainings("B") == []


def test_forgetting_may_be_negative() -> None:
    matrix = ScoreMatrix.start(REGIMES, {n: exam(n, 50) for n in "ABC"})
    matrix = matrix.extended("B", True, {"A": exam("A", 80), "B": exam("B", 90), "C": exam("C", 50)})
    assert forgetting(matrix, split=False) == pytest.approx(-0.30)


def test_the_last_row_is_not_in_the_max() -> None:
    """Trap: .5 .6 .8 with the last row in the max is 0 forgotten; without it .6 - .8 = -.2, the gain it was."""
    matrix = ScoreMatrix.start((Regime("A", known=True), Regime("B")), {"A": exam("A", 50), "B": exam("B", 10)})
    for right in (60, 80):
        matrix = matrix.extended("B", True, {"A": exam("A", right), "B": exam("B", 10)})
    assert gaps(matrix) == [(0, 0, 2)]
    assert forgetting(matrix, split=False) == pytest.approx(-0.2)
    assert forgetting(matrix) < 0


def test_a_zero_is_a_score() -> None:
    """Trap: dropping zeros, .9 -> 0 is no loss, and B that kept its .9 all there is: 0 where (.9 + 0) / 2 was lost."""
    regimes = (Regime("A", known=True), Regime("B", known=True), Regime("C"))
    matrix = ScoreMatrix.start(regimes, {"A": exam("A", 90), "B": exam("B", 90), "C": exam("C", 0)})
    matrix = matrix.extended("C", True, {"A": exam("A", 0), "B": exam("B", 90), "C": exam("C", 0)})
    assert forgetting(matrix) == pytest.approx(0.45)
    assert average_success(matrix) == pytest.approx(0.3)


def test_cost_survives_the_ledger_and_exams_of_old_runs_have_none() -> None:
    cell = ExamResult("A", (1, 2), (True, False), (0.0, 2.5))
    assert cell_from_json("A", cell_json(cell)) == cell
    assert cell_from_json("A", {"seeds": [1, 2], "success": [1, 0]}) == ExamResult("A", (1, 2), (True, False))
    with pytest.raises(ValueError, match="1 costs for 2 seeds"):
        ExamResult("A", (1, 2), (True, False), (1.0,))


def test_empty_means_are_none() -> None:
    matrix = ScoreMatrix.start((Regime("B"),), {"B": exam("B", 50)})
    matrix = matrix.extended("B", True, {"B": exam("B", 90)})
    assert summary(matrix) == {
        "average_success": 0.9,
        "forgetting": None,
        "backward_transfer": None,
        "forward_transfer": None,
    }
    assert forgetting_half_width(matrix) is None


def test_replaced_regime() -> None:
    """B is trained in 1 and gone from row 2 on: an empty column, no gap, not in the average; C appears in row 2."""
    regimes = (Regime("A", known=True), Regime("B", replaced_at=2), Regime("C", added_at=2))
    everything = {"A": exam("A", 90), "B": exam("B", 80), "C": exam("C", 40)}
    matrix = ScoreMatrix.start(regimes, everything)
    matrix = matrix.extended("B", True, everything).extended("C", False, everything)
    matrix = matrix.extended("C", True, {**everything, "C": exam("C", 95)})
    assert np.isnan(matrix.scores).tolist() == [[False, False, True], [False, False, True]] + [[False, True, False]] * 2
    assert average_success(matrix) == pytest.approx((0.9 + 0.95) / 2)
    assert forgetting(matrix) == 0, "A's gap only"
    assert set(matrix.best_ever()) == {"A", "C"}
    assert matrix.best_ever()["C"].mean == 0.95
    assert turnover(matrix)[1] == {"A": (0, 0)}


def test_turnover_sees_what_the_average_hides() -> None:
    """Seeds 1 and 2 are lost, 3 is won, 4 stays: the average says only that one is missing."""
    before, after = (True, True, False, True), (True, True, False, False)  # the second in the order 4, 3, 2, 1
    matrix = ScoreMatrix.start((Regime("A", known=True),), {"A": ExamResult("A", (1, 2, 3, 4), before)})
    matrix = matrix.extended("A", True, {"A": ExamResult("A", (4, 3, 2, 1), after)})
    assert who_hurts_whom(matrix)[0, 0] == -0.25
    assert turnover(matrix) == [{"A": (2, 1)}]


def test_json_round_trip() -> None:
    regimes = (Regime("A", known=True), Regime("B", replaced_at=1))
    matrix = ScoreMatrix.start(regimes, {"A": exam("A", 90), "B": exam("B", 80)}).extended(
        "A", True, {"A": exam("A", 9)}
    )
    assert from_json(to_json(matrix)) == matrix


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="2 or more different seeds"):
        ExamResult("A", (1, 1), (True, False))
    with pytest.raises(ValueError, match="no regime 'X' in the score matrix: A, B, C"):
        ScoreMatrix.start(REGIMES, {}).extended("X", True, {})
    with pytest.raises(ValueError, match="share no seed"):
        gain(ExamResult("A", (1, 2), (True, True)), ExamResult("A", (3, 4), (True, True)))


def test_wilson_half_width() -> None:
    """100 of 100: Wilson's interval is 0.963 to 1, so half of it is 0.0185. 50 of 100: 0.404 to 0.596."""
    assert exam("A", 100).half_width == pytest.approx(0.0185, abs=1e-4)
    assert exam("A", 50).half_width == pytest.approx(0.0962, abs=1e-4)


def test_sign_test_by_hand() -> None:
    """3 of 3 heads: 1/8. 4 of 5 or more: (5 + 1) / 32. Nothing changed: no evidence."""
    assert sign_test(3, 0) == 1 / 8
    assert sign_test(4, 1) == 6 / 32
    assert sign_test(0, 0) == 1


def test_gain_bound() -> None:
    """Tango's bound solves (b - c - n d) / sqrt(n (2 q + d (1 - d))) = z. With c = 0 and d > b / (2 n - b), q is 0:

    62 of 100 won, none lost: (62 - 100 d) = 1.645 sqrt(100 d (1 - d)), so d = 0.5380.
    """
    before, after = exam("A", 20), exam("A", 82)
    assert gain(before, after) == pytest.approx(0.62)
    assert gain_lower_bound(before, after) == pytest.approx(0.5380, abs=1e-3)
    assert gain_lower_bound(before, before) < 0
    assert gain_lower_bound(exam("A", 50), exam("A", 53)) <= 0, "three lucky seeds are no sure gain"
    assert gain_lower_bound(after, before) < -0.62


def test_gain_bound_holds() -> None:
    """Truly equal agents: the bound is above 0 at most once in twenty. Truly 0.2 better: mostly found."""
    rng = np.random.default_rng(0)

    def bound(p: float, q: float) -> float:
        drawn = [ExamResult("A", tuple(range(100)), tuple(map(bool, rng.random(100) < r))) for r in (p, q)]
        return gain_lower_bound(*drawn)

    assert np.mean([bound(0.6, 0.6) > 0 for _ in range(400)]) <= 0.06
    assert np.mean([bound(0.6, 0.8) > 0 for _ in range(200)]) >= 0.85
    assert np.mean([bound(0.6, 0.8) > 0.2 for _ in range(400)]) <= 0.08, "the bound is itself right 19 times of 20"


def test_a_skill_is_what_was_known_or_learned():
    start = ScoreMatrix.start(REGIMES, {name: exam(name, column[0]) for name, column in COLUMNS.items()})
    assert start.skills == {"A"}
    assert start.extended("B", False, {}).skills == {"A"}, "a refused candidate has taught the champion nothing"
    assert start.extended("B", True, {}).skills == {"A", "B"}
    assert worked().skills == {"A", "B", "C", "D"}


def test_columns_that_begin_later_leave_what_was_taken_back_out_of_force() -> None:
    """Cycle 4 is taken back, then a regime begins in row 6: rows 0 to 3 and the rollback lead to the champion."""
    back = worked().returned(3)
    later = back.with_regimes((*REGIMES, Regime("D", added_at=6)))
    assert later.in_force == back.in_force == [0, 1, 2, 3, 5]
    assert later.trainings("B") == [1]
    assert (later.regimes[3].added_at, later.rows) == (6, back.rows)
