"""What went well, as it was known when a cycle began: the steps that are most like what is seen now.

Exact, by NumPy, and no index: what is shown to the agent must not depend on how a search came by its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.types import Observation
from memory.database import Database
from memory.embedding import Embedder
from memory.index import unit
from memory.schema import STEP_BITS
from memory.vectors import Vectors

MOST = 50_000
"""Steps of one regime that are compared; beyond them the oldest are left out."""
DECIMALS = 5
"""Of a cosine. What differs by less is equal, since the last bits of a vector depend on what it was computed beside."""


class Place(NamedTuple):
    """A remembered step."""

    episode: str
    step: int


class Query(NamedTuple):
    """What is seen, in an episode of `task` that began from `seed`."""

    task: str
    seed: int
    observation: Observation


class Successes:
    """Readable steps of successful episodes of cycles before `before_cycle`.

    They are the same at any time of a cycle: episodes only come while it lasts, and those that come are its own.
    """

    def __init__(
        self,
        database: Database,
        vectors: Vectors,
        embedder: Embedder,
        before_cycle: int,
        usable: Callable[[str], bool],
    ) -> None:
        """Read nothing yet; a regime is read when it is asked for.

        Args:
            usable: whether a step at which this was said may be found.
        """
        self._database, self._vectors, self._embedder = database, vectors, embedder
        self._before, self._usable = before_cycle, usable
        self._known: dict[str, _Steps] = {}

    def nearest(self, queries: Sequence[Query], k: int) -> list[list[Place]]:
        """The `k` steps of the same regime, and of another seed, most like each query, or all there are.

        Best first; of equals, the one that was remembered first.
        """
        for task in {query.task for query in queries} - self._known.keys():
            self._known[task] = self._read(task)
        some = [place for place, query in enumerate(queries) if len(self._known[query.task].places)]
        found: list[list[Place]] = [[] for _ in queries]
        if some:
            vectors = unit(self._embedder.embed([queries[i].observation for i in some]))
            for task in dict.fromkeys(queries[i].task for i in some):
                rows = [row for row, i in enumerate(some) if queries[i].task == task]
                seeds = [queries[some[row]].seed for row in rows]
                for row, best in zip(rows, self._known[task].nearest(vectors[rows], seeds, k), strict=True):
                    found[some[row]] = best
        return found

    def _read(self, task: str) -> "_Steps":
        episodes = self._database.execute(
            "SELECT number, id, seed, length FROM episodes WHERE task = ? AND success AND cycle < ? AND length > 0 "
            "AND stop <> 'env_error' ORDER BY number DESC",
            (task, self._before),
        ).fetchall()
        within = int(np.searchsorted(np.cumsum([length for *_, length in episodes]), MOST, side="right"))
        places: list[Place] = []
        seeds: list[int] = []
        vectors = [np.empty((0, self._embedder.dimension), np.float32)]  # scaled one by one: a copy of all is too much
        for number, name, seed, _ in reversed(episodes[:within]):
            steps = self._usable_steps(number)
            places += [Place(name, step) for step in steps]
            seeds += [seed] * len(steps)
            vectors.append(unit(self._vectors.get(number)[steps]))
        return _Steps(places, np.array(seeds, np.int64), np.concatenate(vectors))

    def _usable_steps(self, episode: int) -> list[int]:
        span = (episode << STEP_BITS, (episode + 1) << STEP_BITS)
        sql = "SELECT number, said FROM steps WHERE number >= ? AND number < ? AND readable ORDER BY number"
        return [number - span[0] for number, said in self._database.execute(sql, span) if self._usable(said)]


@dataclass(frozen=True, slots=True)
class _Steps:
    """Of one regime, in order of arrival: seeds int64 `[n]`, vectors float32 `[n, dimension]` of length 1."""

    places: list[Place]
    seeds: np.ndarray
    vectors: np.ndarray

    def nearest(self, queries: np.ndarray, seeds: Sequence[int], k: int) -> list[list[Place]]:
        """See `Successes.nearest`; `queries` are float32 `[q, dimension]` of length 1."""
        cosines = np.round(queries @ self.vectors.T, DECIMALS)
        found = []
        for row, seed in zip(cosines, seeds, strict=True):
            there = np.flatnonzero(self.seeds != seed)
            values = row[there]
            if len(there) > k:  # a sort of all would take longer than the search
                best = values >= np.partition(values, -k)[-k]
                there, values = there[best], values[best]
            order = np.lexsort((there, -values))[:k]
            found.append([self.places[i] for i in there[order].tolist()])
        return found
