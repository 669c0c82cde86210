"""A store of many episodes: written, opened, drawn from, and what it takes on the disk."""

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import line
from envs.component import load
from envs.types import Action, Episode, Observation, Step, StopReason
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.images import LEVEL
from memory.store import MemorySettings, ReplayMemory

SIDE, STEPS, DIMENSION = 64, 10, 256
TASKS = ("goto", "exchanged", "renamed", "hazard")
CHOICES = ("turn left", "turn right", "go forward")
BATCH = 100
"""Episodes handed over at once; each is acknowledged by its own commit."""
DRAWN, FAILURES = 256, 64


def episodes(first: int, count: int, rng: np.random.Generator) -> list[Episode]:
    """Episodes of `STEPS` steps; no two of their pictures are alike, and they are drawn as simulated worlds draw."""
    return [_episode(number, rng) for number in range(first, first + count)]


def _episode(number: int, rng: np.random.Generator) -> Episode:
    tiles = rng.integers(0, 256, (STEPS + 1, 8, 8, 3), dtype=np.uint8)
    pictures = tiles.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    seen = [Observation(f"<image>go to the {number % 48}th thing.", (picture,)) for picture in pictures]
    said = rng.integers(0, 3, STEPS).tolist()
    steps = tuple(
        Step(
            seen[i], CHOICES,
            Action(CHOICES[pick], np.arange(3) + pick, np.array([-0.7, 0, 0], np.float32), "closed", pick, True),
            float(i == STEPS - 1), 0.0, i == STEPS - 1, False, {"success": i == STEPS - 1},
        )
        for i, pick in enumerate(said)
    )  # fmt: skip
    task, cycle = TASKS[number % len(TASKS)], number // 1000
    name = f"long/{cycle}/{task}/{number % 16}/{number}"
    won = bool(number % 3)
    return Episode(
        f"{name}/0", task, number, name, 0, cycle, "0123456789abcdef", steps, seen[-1], StopReason.TERMINATED, won
    )


class Timed:
    """A SQLite connection that tells how long it worked; rows made on the fly are made outside of that time."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.seconds = 0.0

    @property
    def in_transaction(self) -> bool:
        """As the connection's."""
        return bool(self.inner.in_transaction)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """As the connection's."""
        began = time.perf_counter()
        try:
            return self.inner.execute(sql, values)
        finally:
            self.seconds += time.perf_counter() - began

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """As the connection's."""
        ready = list(rows)
        began = time.perf_counter()
        self.inner.executemany(sql, ready)
        self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """As the connection's."""
        self.inner.close()


def opened(path: Path, capacity: int) -> tuple[Database, ReplayMemory]:
    """The store as a run would open it."""
    database = Database(path)
    return database, ReplayMemory(database, HashEmbedder(DIMENSION), MemorySettings(capacity=capacity))


def filled(path: Path, count: int) -> dict[str, float]:
    """Make the store, and tell how fast it went: medians over batches."""
    rng = np.random.default_rng(0)
    database, memory = opened(path, count)
    database._connection = timed = Timed(database._connection)  # type: ignore[assignment]
    rates, own = [], []
    for first in range(0, count, BATCH):
        new = episodes(first, BATCH, rng)
        vectors = [rng.standard_normal((STEPS, DIMENSION), dtype=np.float32) for _ in new]
        before, began = timed.seconds, time.perf_counter()
        memory.add(new, vectors)
        wall = time.perf_counter() - began
        rates.append(BATCH / wall)
        own.append(1e6 * (wall - (timed.seconds - before) - _packing(new)) / (BATCH * STEPS))
    pictures = database.execute("SELECT sum(length(data)) FROM picture_data").fetchone()[0]
    stats = memory.stats()
    each = [stats.bytes / stats.steps - pictures / stats.steps]
    database.close()
    each_picture = pictures / stats.steps
    print(f"{count} episodes of {STEPS} steps, {stats.bytes / 2**30:.2f} GiB, {each_picture:.0f} bytes a picture")
    return {
        "inserts_per_second": line("episodes stored a second, each acknowledged", rates, ">= 300"),
        "insert_python_us_per_step": line("of that our own Python, us a step", own, "<= 60"),
        "disk_bytes_per_step": line("bytes a step on the disk, beside its picture's", each, "<= 1500"),
    }


def _packing(new: Sequence[Episode]) -> float:
    """Seconds that hashing and compressing these pictures takes: zlib's and blake2b's, not ours."""
    raw = [o.images[0].tobytes() for e in new for o in (*(s.observation for s in e.steps), e.final)]
    began = time.perf_counter()
    for data in raw:
        blake2b(data, digest_size=16).digest()
        zlib.compress(data, LEVEL)
    return time.perf_counter() - began


def used(path: Path, count: int, rounds: int) -> dict[str, float]:
    """Open the store, and draw rehearsal from it."""
    seconds = list(_openings(path, count, rounds))
    database, memory = opened(path, count)
    recall = load("memory.recall", {"type": "mixture"}, "recall").build()
    rng = np.random.default_rng(1)
    memory.search(np.ones(DIMENSION, np.float32), 1)  # the index is loaded at its first use: told apart
    draws = []
    for number in range(rounds):
        began = time.perf_counter()
        like = memory.failures(FAILURES, rng, before_cycle=10**6)
        drawn = memory.draw(recall, DRAWN, rng, before_cycle=10**6 + number, like=like)
        draws.append(1e3 * (time.perf_counter() - began))
        assert sum(len(e.steps) for e in drawn) >= DRAWN
    database.close()
    return {
        "open_seconds": line(f"seconds to open a store of {count} episodes", seconds, "<= 1"),
        "draw_ms": line(f"ms to draw {DRAWN} steps with their pictures", draws, "<= 50"),
    }


def _openings(path: Path, count: int, rounds: int) -> Iterator[float]:
    for _ in range(min(rounds, 5)):
        began = time.perf_counter()
        database, memory = opened(path, count)
        memory.stats()
        yield time.perf_counter() - began
        database.close()
