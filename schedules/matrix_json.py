"""The score matrix as JSON-able data, and back."""

from collections.abc import Mapping
from typing import Any

from schedules.comparison import ExamResult
from schedules.metrics import Regime, ScoreMatrix


def to_json(matrix: ScoreMatrix) -> dict[str, Any]:
    """The matrix as JSON-able data; `from_json` gives it back."""
    fields = ("name", "known", "added_at", "replaced_at")
    return {
        "regimes": [{field: getattr(regime, field) for field in fields} for regime in matrix.regimes],
        "rows": [[c and cell_json(c) for c in row] for row in matrix.rows],
        "primary": [*matrix.primary],
        "accepted": [*matrix.accepted],
        "rolled_back": [[*pair] for pair in matrix.rolled_back],
    }


def from_json(data: Mapping[str, Any]) -> ScoreMatrix:
    """The inverse of `to_json`."""
    regimes = tuple(Regime(**regime) for regime in data["regimes"])
    rows = tuple(
        tuple(c and cell_from_json(r.name, c) for r, c in zip(regimes, row, strict=True)) for row in data["rows"]
    )
    back = tuple((row, to) for row, to in data.get("rolled_back", ()))
    return ScoreMatrix(regimes, rows, tuple(data["primary"]), tuple(data["accepted"]), back)


def cell_json(cell: ExamResult) -> dict[str, Any]:
    """One exam as JSON-able data."""
    outcomes = {"seeds": [*cell.seeds], "success": [*map(int, cell.success)]}
    return outcomes | ({"cost": [*cell.cost]} if cell.cost else {})


def cell_from_json(task: str, data: Mapping[str, Any]) -> ExamResult:
    """The inverse of `cell_json`."""
    seeds, success, cost = tuple(data["seeds"]), tuple(map(bool, data["success"])), tuple(data.get("cost", ()))
    return ExamResult(task, seeds, success, cost)
