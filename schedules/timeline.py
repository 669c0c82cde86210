"""When each regime of a stream begins and ends, and the score matrix as the ledger keeps it: a row a cycle."""

from collections.abc import Sequence
from typing import Any

from schedules.checkpoint import Committed
from schedules.config import StreamSettings
from schedules.matrix_json import from_json, to_json
from schedules.metrics import Regime, ScoreMatrix


def timeline(stream: StreamSettings, rollbacks: Sequence[int] = ()) -> tuple[Regime, ...]:
    """The columns of the score matrix; `rollbacks` are rows of it that no planned cycle made.

    A regime that replaces another begins with the first cycle that trains it; there the other ends. All others are
    there from the start: they can be examined before they are trained.
    """
    first = {plan.task: row_of(i, rollbacks) for i, plan in reversed(list(enumerate(stream.cycles, start=1)))}
    after = row_of(len(stream.cycles) + 1, rollbacks)
    gone = {r.replaces: first.get(name) for name, r in stream.regimes.items() if r.replaces is not None}
    return tuple(
        Regime(name, r.known, first.get(name, after) if r.replaces else 0, gone.get(name))
        for name, r in stream.regimes.items()
    )


def row_of(plan: int, rollbacks: Sequence[int]) -> int:
    """The row that a planned cycle has or will have: each rollback before it moves it by one."""
    for rollback in sorted(rollbacks):
        plan += rollback <= plan
    return plan


def rollbacks(committed: Sequence[Committed]) -> list[int]:
    """Rows of the matrix that are rollbacks."""
    return [entry.cycle for entry in committed if entry.outcomes.get("back_to") is not None]


def last_cycle(committed: Sequence[Committed]) -> int:
    """Number of the last committed cycle that is no rollback: whatever memory holds of later ones was never committed.

    A rollback takes the number of a cycle that was given up halfway, if there was one; -1 before the first commit.
    """
    back = set(rollbacks(committed))
    return max((entry.cycle for entry in committed if entry.cycle not in back), default=-1)


def last_row(matrix: ScoreMatrix) -> dict[str, Any]:
    """The newest row as JSON-able data, with the cycle that made it."""
    return {
        "cells": to_json(matrix)["rows"][-1],
        "primary": matrix.primary[-1] if matrix.primary else None,
        "accepted": matrix.accepted[-1] if matrix.accepted else None,
        "back_to": dict(matrix.rolled_back).get(len(matrix.rows) - 1),
    }


def restore_matrix(regimes: tuple[Regime, ...], committed: Sequence[Committed]) -> ScoreMatrix | None:
    """The matrix of all committed cycles; None before the first."""
    if not committed:
        return None
    rows = [entry.outcomes for entry in committed]
    empty = to_json(ScoreMatrix(regimes, ()))
    return from_json(
        {
            "regimes": empty["regimes"],
            "rows": [row["cells"] for row in rows],
            "primary": [row["primary"] for row in rows[1:]],
            "accepted": [row["accepted"] for row in rows[1:]],
            "rolled_back": [(i, rows[i]["back_to"]) for i in rollbacks(committed)],
        }
    )
