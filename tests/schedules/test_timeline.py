"""When regimes begin and end; the matrix as the ledger keeps it; where seconds go; that seeds never meet."""

import time

import pytest

from schedules.checkpoint import Committed
from schedules.clock import PHASES, PhaseClock
from schedules.config import StreamSettings
from schedules.exam import FIRST_EXAM_SEED, exam_tickets
from schedules.metrics import ExamResult, Regime, ScoreMatrix
from schedules.seeds import generator, training_seed
from schedules.timeline import last_row, restore_matrix, row_of, timeline

WORLD = {"id": "envs.copycat:Copycat-v0", "success": {"return_at_least": 1}}


def stream(**changes: object) -> StreamSettings:
    grpo = {"type": "grpo"}
    settings = {
        "stream": "s",
        "regimes": {
            "a": {"world": WORLD, "known": True},
            "b": {"world": WORLD},
            "c": {"world": WORLD, "replaces": "b"},
        },
        "cycles": [{"task": "b", "update": grpo}, {"task": "a", "update": grpo}, {"task": "c", "update": grpo}],
    }
    return StreamSettings.model_validate(settings | changes)


def test_a_regime_that_replaces_another_begins_where_it_is_first_trained() -> None:
    a, b, c = timeline(stream())
    assert a == Regime("a", known=True)
    assert b == Regime("b", replaced_at=3)
    assert c == Regime("c", added_at=3)
    assert [[r.name for r in (a, b, c) if r.live(row)] for row in range(4)] == [
        ["a", "b"], ["a", "b"], ["a", "b"], ["a", "c"],
    ]  # fmt: skip


def test_a_replacement_that_is_never_trained_never_comes() -> None:
    grpo = {"type": "grpo"}
    _, b, c = timeline(stream(cycles=[{"task": "b", "update": grpo}]))
    assert b.replaced_at is None
    assert not c.live(1)


def test_the_matrix_is_put_together_again_row_by_row() -> None:
    regimes = (Regime("a", known=True), Regime("b"))

    def exam(a: int, b: int) -> dict[str, ExamResult]:
        seeds = tuple(range(4))
        return {n: ExamResult(n, seeds, tuple(s < k for s in seeds)) for n, k in (("a", a), ("b", b))}

    rows = [ScoreMatrix.start(regimes, exam(4, 1))]
    rows.append(rows[-1].extended("b", True, exam(3, 4)))
    rows.append(rows[-1].extended("a", False, exam(0, 0)))
    kept = [Committed(i, {}, last_row(matrix), "") for i, matrix in enumerate(rows)]
    assert restore_matrix(regimes, kept) == rows[-1]
    assert restore_matrix(regimes, []) is None


def test_inner_phases_are_not_the_outer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks at 0 (start), 1 update begins, 3 rollout begins, 7 ends, 8 update ends, 8 asked: 1, 2 + 1, 4."""
    ticks = iter([0.0, 1.0, 3.0, 7.0, 8.0, 8.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    clock = PhaseClock()
    with clock.phase("update"), clock.phase("rollout"):
        pass
    assert clock.seconds() == dict.fromkeys(PHASES, 0.0) | {"other": 1.0, "update": 3.0, "rollout": 4.0}


def test_exam_seeds_never_meet_training_seeds() -> None:
    assert min(ticket.seed for ticket in exam_tickets("a", range(100))) >= FIRST_EXAM_SEED
    assert all(training_seed(0, i) < FIRST_EXAM_SEED for i in range(2000))


def test_randomness_depends_on_every_part_and_on_nothing_else() -> None:
    draws = {
        generator(*parts).integers(2**60) for parts in ((0, 1, "a"), (0, 1, "b"), (0, 2, "a"), (1, 1, "a"), ("01", "a"))
    }
    assert len(draws) == 5
    assert generator(0, 1, "a").integers(2**60) == generator(0, 1, "a").integers(2**60)


def test_numbers_of_regimes_that_come_later_move_with_the_rows() -> None:
    """See `row_of`: rollbacks at rows 2 and 4 move plan 2 to row 3 and plan 3 to row 5."""
    assert [row_of(plan, [4, 2]) for plan in (1, 2, 3, 4)] == [1, 3, 5, 6]
    assert [row_of(plan, []) for plan in (1, 2)] == [1, 2]
