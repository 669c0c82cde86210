"""Vectors as embeddings of worlds lie, their true neighbours, and how an index of them is measured.

Steps lie around scenes (a room, a page), scenes around topics (a world), and few topics hold most of the steps. The
spectrum falls as 1/i, as that of real embeddings roughly does, so that about 23 of 256 directions count. Clusters
overlap: a step is about as far from its scene as scenes of two topics are from one another.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

DIMENSION, TOPICS, SCENES = 256, 1000, 20
CHUNK = 10_000
DELETED = 0.1
K = 10

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Embeddings:
    """Draws of one world; another seed is another world, with other scenes and other directions that count."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 0])
        turn, _ = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))
        self._basis = (turn / np.sqrt(np.arange(1, DIMENSION + 1))).T.astype(np.float32)
        topics = self._noise(rng, TOPICS)
        self._scenes = np.repeat(topics, SCENES, axis=0) + 0.6 * self._noise(rng, TOPICS * SCENES)
        weights = np.repeat(1 / np.arange(1, TOPICS + 1), SCENES)
        self._weights = weights / weights.sum()
        self._seed = seed

    def draw(self, part: int, count: int = CHUNK) -> np.ndarray:
        """The numbered part: float32 `[count, 256]` of length 1."""
        rng = np.random.default_rng([self._seed, 1, part])
        out = self._scenes[rng.choice(len(self._weights), count, p=self._weights)] + self._noise(rng, count)
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def _noise(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.normal(size=(count, DIMENSION)).astype(np.float32) @ self._basis


@dataclass(frozen=True, slots=True)
class Material:
    """Files in a folder, so that what is measured reads its vectors as from a store and holds no second copy.

    Attributes:
        folder: where they lie.
        count: vectors; their ids are 0..count-1.
    """

    folder: Path
    count: int

    def make(self, queries: int, worlds: tuple[int, ...] = (0,)) -> "Material":
        """Draw vectors, one world after the other, and queries of the last one; find the true neighbours.

        Returns:
            Itself.
        """
        drawn = [Embeddings(seed) for seed in worlds]
        asked = drawn[-1].draw(10**6, queries)
        keep = self.kept()
        best = np.full((queries, K), -2, np.float32)
        ids = np.full((queries, K), -1, np.int64)
        with open(self.folder / "vectors", "wb") as file:
            for start in range(0, self.count, CHUNK):
                part = drawn[start * len(worlds) // self.count].draw(start // CHUNK, min(CHUNK, self.count - start))
                file.write(part.tobytes())
                near = np.where(keep[start : start + CHUNK], asked @ part.T, np.float32(-2))
                all_ids = np.concatenate([ids, np.broadcast_to(start + np.arange(len(part)), near.shape)], axis=1)
                all_near = np.concatenate([best, near], axis=1)
                first = np.argpartition(-all_near, K, axis=1)[:, :K]
                best, ids = (np.take_along_axis(values, first, 1) for values in (all_near, all_ids))
        np.save(self.folder / "queries.npy", asked)
        np.save(self.folder / "truth.npy", ids)
        return self

    def kept(self) -> np.ndarray:
        """Bool `[count]`: what is not deleted."""
        return np.random.default_rng(5).random(self.count) >= DELETED

    def parts(self, first: int = 0, last: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids and vectors from the file, from one id to before another."""
        stop = self.count if last is None else last
        for start in range(first, stop, CHUNK):
            length = min(CHUNK, stop - start)
            with open(self.folder / "vectors", "rb") as file:
                file.seek(4 * DIMENSION * start)
                data = file.read(4 * DIMENSION * length)
            yield start + np.arange(length), np.frombuffer(data, np.float32).reshape(length, DIMENSION)

    def measure(self, search: Search) -> dict[str, float]:
        """Ask one query after the other: milliseconds at the median and at the 99th percentile, and recall at 10."""
        queries, truth = np.load(self.folder / "queries.npy"), np.load(self.folder / "truth.npy")
        search(queries[:1], K)
        seconds, hits = [], 0
        for query, true in zip(queries, truth, strict=True):
            began = time.perf_counter()
            ids, _ = search(query[None], K)
            seconds.append(time.perf_counter() - began)
            hits += len(np.intersect1d(ids[0], true))
        p50, p99 = (1000 * np.percentile(seconds, [50, 99])).tolist()
        return {"p50_ms": p50, "p99_ms": p99, "recall_at_10": hits / truth.size}


def resident() -> float:
    """Gigabytes that this process holds in RAM, the code of its libraries included."""
    return psutil.Process().memory_info().rss / 1e9


def peak_resident() -> float:
    """The most that it ever held, in gigabytes, as the kernel counts."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e9
