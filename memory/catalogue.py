"""What strategies look at: one row an episode, in RAM, as columns: 1e5 rows are not read from SQLite each cycle."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.types import Observation
from memory.database import Database

Nearest = Callable[["View", Sequence[Observation], int], np.ndarray]
Vectors = Callable[[np.ndarray], np.ndarray]

COLUMNS = "number, task, success, cycle, length, gain, priority, seen, uses, stop"
_TYPES = {
    "number": np.int64,
    "task": np.int64,
    "success": np.bool_,
    "cycle": np.int64,
    "length": np.int64,
    "gain": np.float64,
    "priority": np.float64,
    "seen": np.int64,
    "uses": np.int64,
    "broken": np.bool_,
}


_VIEWED = ("numbers", "strata", "success", "cycle", "length", "gain", "priority", "seen", "uses")


@dataclass(frozen=True, slots=True)
class View:
    """Some of the remembered episodes, in order of arrival; every array is `[n]`.

    Attributes:
        numbers: int64, what a strategy returns.
        strata: int64, one code for each (task, success) that occurs, in order of task name.
        success: bool.
        cycle: int64, the cycle that played it.
        length: int64, steps.
        gain: float64, undiscounted return.
        priority: float64 in 0..1, a hash of the episode's id: keeping the highest keeps a uniform sample.
        seen: int64, the cycle that played it or last rehearsed it.
        uses: int64, how often it was rehearsed.
        vectors_of: numbers `[m]` -> float32 `[m, dimension]`, mean of each episode's step vectors. Reads from disk.
        nearest_in: see `nearest`.
    """

    numbers: np.ndarray
    strata: np.ndarray
    success: np.ndarray
    cycle: np.ndarray
    length: np.ndarray
    gain: np.ndarray
    priority: np.ndarray
    seen: np.ndarray
    uses: np.ndarray
    vectors_of: Vectors
    nearest_in: Nearest

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, mask: np.ndarray) -> "View":
        """The episodes for which bool `[n]` is True."""
        columns = {name: getattr(self, name)[mask] for name in _VIEWED}
        return View(**columns, vectors_of=self.vectors_of, nearest_in=self.nearest_in)

    def without(self, numbers: np.ndarray) -> "View":
        """All but these."""
        return self.where(~np.isin(self.numbers, numbers))

    def first(self, order: np.ndarray, count: int) -> np.ndarray:
        """Numbers of the first episodes in `order` (places in this view) that hold `count` steps or more together."""
        if count <= 0:
            return self.numbers[:0]
        reached = np.cumsum(self.length[order]) >= count
        stop = int(np.argmax(reached)) + 1 if reached.any() else len(order)
        return self.numbers[order[:stop]]

    def nearest(self, observations: Sequence[Observation], count: int) -> np.ndarray:
        """Numbers of episodes with steps like these, most alike first, until they hold `count` steps."""
        return self.nearest_in(self, observations, count)


class Catalogue:
    """Columns of all episodes, kept in step with the table, and read anew after anything was rolled back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks: dict[str, int] = {}
        self._columns: dict[str, np.ndarray] = {}
        self._waiting: list[tuple[Any, ...]] = []
        self._rollbacks = -1
        self._rehearsed: list[tuple[np.ndarray, int]] = []

    def append(self, row: tuple[Any, ...]) -> None:
        """One new episode, values as in COLUMNS."""
        if self._rollbacks == self._database.rollbacks:
            self._waiting.append(row)  # otherwise all is read anew at the next look

    def remove(self, numbers: np.ndarray) -> None:
        """These episodes are gone."""
        columns = self.columns()
        stay = ~np.isin(columns["number"], numbers)
        self._columns = {name: column[stay] for name, column in columns.items()}

    def mark_seen(self, numbers: np.ndarray, cycle: int) -> None:
        """These episodes were rehearsed in `cycle`."""
        _mark(self.columns(), numbers, cycle)
        self._rehearsed.append((numbers, cycle))

    def write_seen(self) -> None:
        """Put into the table what was rehearsed, in the caller's transaction; until then only this process knows."""
        for numbers, cycle in self._rehearsed:
            self._database.executemany(
                "UPDATE episodes SET seen = max(seen, ?), uses = uses + 1 WHERE number = ?",
                [(cycle, number) for number in numbers.tolist()],
            )
        self._rehearsed = []

    def forget_seen(self) -> None:
        """What was rehearsed and not written never was."""
        if self._rehearsed:
            self._rehearsed = []
            self._rollbacks = -1

    def columns(self) -> dict[str, np.ndarray]:
        """Arrays `[n]` by name, ascending by number."""
        if self._rollbacks != self._database.rollbacks:
            self._reload()
        if self._waiting:
            new = self._encode(self._waiting)
            self._columns = {name: np.concatenate([old, new[name]]) for name, old in self._columns.items()}
            self._waiting = []
        return self._columns

    def _reload(self) -> None:
        self._rollbacks = self._database.rollbacks
        self._waiting = []
        rows = self._database.execute(f"SELECT {COLUMNS} FROM episodes ORDER BY number").fetchall()
        self._columns = self._encode(rows) if rows else {name: np.empty(0, kind) for name, kind in _TYPES.items()}
        for numbers, cycle in self._rehearsed:
            _mark(self._columns, numbers, cycle)

    def view(self, vectors_of: Vectors, nearest_in: Nearest) -> View:
        """All episodes, as strategies see them."""
        c = self.columns()
        by_name = sorted(self._tasks)
        rank = np.array([by_name.index(task) for task in self._tasks] or [0], np.int64)
        strata = 2 * rank[c["task"]] + c["success"]
        names = ("success", "cycle", "length", "gain", "priority", "seen", "uses")
        rest = {name: c[name].copy() for name in names}
        return View(numbers=c["number"], strata=strata, **rest, vectors_of=vectors_of, nearest_in=nearest_in)

    def in_tasks(self, tasks: Iterable[str]) -> np.ndarray:
        """Bool `[n]`: whose task is one of these."""
        codes = [self._tasks[task] for task in tasks if task in self._tasks]
        return np.isin(self.columns()["task"], np.array(codes, np.int64))

    def numbers(
        self, tasks: Iterable[str] | None = None, before_cycle: int | None = None, successes: bool = False
    ) -> np.ndarray | None:
        """Numbers int64 `[m]` of episodes with steps that fit, ascending; None where nothing is asked of them."""
        columns = self.columns()
        if tasks is None and before_cycle is None and not successes:
            return None
        mask = columns["length"] > 0
        if tasks is not None:
            mask &= self.in_tasks(tasks)
        if before_cycle is not None:
            mask &= columns["cycle"] < before_cycle
        if successes:
            mask &= columns["success"]
        return columns["number"][mask]

    def _encode(self, rows: Sequence[tuple[Any, ...]]) -> dict[str, np.ndarray]:
        number, task, success, cycle, length, gain, priority, seen, uses, stop = zip(*rows, strict=True)
        for name in task:
            self._tasks.setdefault(name, len(self._tasks))
        values = {
            "number": number,
            "task": [self._tasks[name] for name in task],
            "success": success,
            "cycle": cycle,
            "length": length,
            "gain": np.frombuffer(b"".join(gain), "<f8"),
            "priority": priority,
            "seen": seen,
            "uses": uses,
            "broken": [reason == "env_error" for reason in stop],
        }
        return {name: np.array(values[name], dtype=kind) for name, kind in _TYPES.items()}


def _mark(columns: dict[str, np.ndarray], numbers: np.ndarray, cycle: int) -> None:
    mine = np.isin(columns["number"], numbers)
    columns["seen"][mine] = np.maximum(columns["seen"][mine], cycle)
    columns["uses"][mine] += 1
