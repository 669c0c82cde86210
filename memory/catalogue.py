"""What strategies look at: one row an episode, in RAM, as columns: 1e5 rows are not read from SQLite each cycle."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memory.database import Database
from memory.paging import charged
from memory.schema import LIVED

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
Nearest = Callable[["View", np.ndarray, int], Found]
Vectors = Callable[[np.ndarray], np.ndarray]

COLUMNS = "number, task, success, cycle, length, gain, priority, seen, uses, drift, bytes, stop"
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
    "drift": np.float64,
    "bytes": np.int64,
    "broken": np.bool_,
}


_SHOWN = ("success", "cycle", "length", "gain", "priority", "seen", "uses", "drift", "bytes")


@dataclass(frozen=True, slots=True)
class View:
    """Some of the remembered episodes, in order of arrival; every array is `[n]`.

    Attributes:
        numbers: int64, ascending.
        strata: int64, one code for each (task, success) that occurs, in order of task name: half of it is the task.
        success: bool.
        cycle: int64, the cycle that played it.
        length: int64, steps.
        gain: float64, undiscounted return.
        priority: float64 in 0..1, a hash of the episode's id: keeping the highest keeps a uniform sample.
        seen: int64, the cycle that played it or last rehearsed it.
        uses: int64, how often it was rehearsed.
        drift: float64, nats per decision: how far champions went from the policy that played it, the largest that a
            rehearsal has measured; 0 where none has.
        bytes: int64, what its rows and vectors take in the file; pictures are shared, so they are nobody's.
        tasks: names of the tasks, in order.
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
    drift: np.ndarray
    bytes: np.ndarray
    tasks: tuple[str, ...]
    vectors_of: Vectors
    nearest_in: Nearest

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, mask: np.ndarray) -> "View":
        """The episodes for which bool `[n]` is True."""
        places = np.flatnonzero(mask)  # taking by place is several times as fast as by mask
        columns = {name: getattr(self, name)[places] for name in ("numbers", "strata", *_SHOWN)}
        return View(**columns, tasks=self.tasks, vectors_of=self.vectors_of, nearest_in=self.nearest_in)

    def without(self, numbers: np.ndarray) -> "View":
        """All but these; numbers that are not here are ignored."""
        mask = np.ones(len(self), np.bool_)
        mask[self.places(numbers)] = False
        return self.where(mask)

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Where those of `numbers` stand that are here, int64, in the order of `numbers`."""
        return places(self.numbers, numbers)

    def stratum(self, place: int) -> str:
        """Its stratum in words, such as `goto/failed`."""
        task, success = divmod(int(self.strata[place]), 2)
        return f"{self.tasks[task]}/{'succeeded' if success else 'failed'}"

    def shuffled_by(self, key: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Places by ascending `key` `[n]`, equal ones in random order."""
        shuffled = rng.permutation(len(self))
        values = key[shuffled]
        if values.dtype.kind == "i" and len(values) and values.min() >= 0 and values.max() < 1 << 16:
            values = values.astype(np.uint16)  # NumPy sorts those by radix: 1e5 in a millisecond
        return shuffled[np.argsort(values, kind="stable")]

    def first(self, order: np.ndarray, count: int) -> np.ndarray:
        """The first of `order` (places in this view) that hold `count` steps or more together."""
        if count <= 0:
            return order[:0]
        return order[: int(np.searchsorted(np.cumsum(self.length[order]), count)) + 1]

    def nearest(self, queries: np.ndarray, count: int) -> Found:
        """Episodes with steps like these vectors, float32 `[q, dimension]`, until they hold `count` steps.

        Queries take turns; each episode stands for its best step.

        Returns:
            Places int64 `[m]`, cosines float32 `[m]`, and which query found it, int64 `[m]`.
        """
        return self.nearest_in(self, queries, count)


def places(ascending: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Where those of `numbers` stand that are in `ascending`, int64, in the order of `numbers`."""
    found, there = find(ascending, numbers)
    return found[there]


def find(ascending: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `numbers` stands in `ascending`, int64, and whether it is there at all, bool."""
    found = np.searchsorted(ascending, numbers)
    there = found < len(ascending)
    there[there] = ascending[found[there]] == numbers[there]
    return found, there


class Catalogue:
    """Columns of all episodes, kept in step with the table, and read anew after anything was rolled back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks: dict[str, int] = {}
        self._columns: dict[str, np.ndarray] = {}
        self._waiting: list[tuple[Any, ...]] = []
        self._rollbacks = -1
        self._rehearsed: list[tuple[np.ndarray, int]] = []
        self._drifted: list[tuple[np.ndarray, np.ndarray]] = []

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
        _mark_seen(self.columns(), numbers, cycle)
        self._rehearsed.append((numbers, cycle))

    def mark_drift(self, numbers: np.ndarray, nats: np.ndarray) -> None:
        """So far was the champion from the policies that played these episodes, float64 `[n]`."""
        _mark_drift(self.columns(), numbers, nats)
        self._drifted.append((numbers, nats))

    def write_marks(self) -> None:
        """Put into the table what was marked, in the caller's transaction; until then only this process knows."""
        for numbers, cycle in self._rehearsed:
            self._database.executemany(
                "UPDATE episodes SET seen = max(seen, ?), uses = uses + 1 WHERE number = ?",
                [(cycle, number) for number in numbers.tolist()],
            )
        for numbers, nats in self._drifted:
            self._database.executemany(
                "UPDATE episodes SET drift = max(drift, ?) WHERE number = ?",
                list(zip(nats.tolist(), numbers.tolist(), strict=True)),
            )
        self._rehearsed, self._drifted = [], []

    def forget_marks(self) -> None:
        """What was marked and not written never was."""
        if self._rehearsed or self._drifted:
            self._rehearsed, self._drifted = [], []
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
            _mark_seen(self._columns, numbers, cycle)
        for numbers, nats in self._drifted:
            _mark_drift(self._columns, numbers, nats)

    def view(self, vector_bytes: int, vectors_of: Vectors, nearest_in: Nearest) -> View:
        """All episodes, as strategies see them; a step's vector takes `vector_bytes`."""
        c = self.columns()
        by_name = sorted(self._tasks)
        rank = np.array([by_name.index(task) for task in self._tasks] or [0], np.int64)
        strata = 2 * rank[c["task"]] + c["success"]
        rest = {name: c[name].copy() for name in _SHOWN}
        rest["bytes"] = charged(c["bytes"], c["length"], vector_bytes)
        return View(
            numbers=c["number"], strata=strata, **rest, tasks=tuple(by_name), vectors_of=vectors_of,
            nearest_in=nearest_in,
        )  # fmt: skip

    def learnable(self, before_cycle: int, tasks: Iterable[str] | None) -> np.ndarray:
        """Bool `[n]`: which are of cycles before this one and of these tasks (None: of all), not broken, not empty."""
        c = self.columns()
        mask = (c["cycle"] < before_cycle) & (c["length"] > 0) & ~c["broken"]
        return mask if tasks is None else mask & self._of_tasks(tasks)

    def _of_tasks(self, tasks: Iterable[str]) -> np.ndarray:
        """Bool `[n]`: whose task is one of these."""
        wanted = np.zeros(len(self._tasks), np.bool_)
        wanted[[self._tasks[task] for task in tasks if task in self._tasks]] = True
        return wanted[self.columns()["task"]]

    def undone(self, cycle: int) -> np.ndarray:
        """Numbers int64 `[m]` of what cycles after this one played, ascending; what was merely lived is nobody's."""
        sql = "SELECT number FROM episodes WHERE cycle > ? AND grp <> ? ORDER BY number"
        return np.array([number for (number,) in self._database.execute(sql, (cycle, LIVED))], np.int64)

    def comparable(self, tasks: Iterable[str] | None, before_cycle: int | None) -> np.ndarray:
        """Bool `[n]`: which have steps, and are of these tasks and of cycles before this one (None: of all)."""
        mask = self.columns()["length"] > 0
        if tasks is not None:
            mask &= self._of_tasks(tasks)
        if before_cycle is not None:
            mask &= self.columns()["cycle"] < before_cycle
        return mask

    def _encode(self, rows: Sequence[tuple[Any, ...]]) -> dict[str, np.ndarray]:
        number, task, success, cycle, length, gain, priority, seen, uses, drift, size, stop = zip(*rows, strict=True)
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
            "drift": drift,
            "bytes": size,
            "broken": [reason == "env_error" for reason in stop],
        }
        return {name: np.array(values[name], dtype=kind) for name, kind in _TYPES.items()}


def _mark_seen(columns: dict[str, np.ndarray], numbers: np.ndarray, cycle: int) -> None:
    mine = places(columns["number"], numbers)
    columns["seen"][mine] = np.maximum(columns["seen"][mine], cycle)
    columns["uses"][mine] += 1


def _mark_drift(columns: dict[str, np.ndarray], numbers: np.ndarray, nats: np.ndarray) -> None:
    found, there = find(columns["number"], numbers)
    columns["drift"][found[there]] = np.maximum(columns["drift"][found[there]], nats[there])
