"""ReplayMemory: what the agent has lived through, kept, found again and forgotten.

SQLite is the truth; the catalogue in RAM and the vector index are made from it. `add` never evicts: `settle` does, in
the transaction that commits the cycle, so that a cycle which is repeated after a kill meets the same memory.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from envs.component import Settings, load
from envs.types import Episode, Observation
from memory import lookup
from memory.catalogue import Catalogue, View, places
from memory.database import Database
from memory.draws import REHEARSAL, Draws
from memory.embedding import Embedder, check_vectors, embed_steps
from memory.episodes import Episodes
from memory.images import Pictures
from memory.judgements import Judgement, Judgements
from memory.novelty import Known
from memory.paging import used_bytes
from memory.pairs import Pairs
from memory.preferences import PreferencePair
from memory.recall import Failure, Recall, checked
from memory.retention import Retention
from memory.room import make_room
from memory.schema import MIGRATIONS
from memory.successes import Successes
from memory.unit_vectors import NUMBER_BYTES
from memory.vectors import Vectors


class MemorySettings(Settings):
    """Settings of the memory.

    Attributes:
        capacity: episodes kept when a cycle is committed.
        capacity_mb: megabytes (1e6 bytes) that they may take then, see `memory.room`; None for no bound.
        pair_capacity: preference pairs kept then; fewer where episodes they come from have gone.
        retention: which strategy decides what stays, by `type` and its own settings.
        seed: other seeds keep other samples.
    """

    capacity: int = Field(default=10_000, ge=1)
    capacity_mb: float | None = Field(default=None, gt=0)
    pair_capacity: int = Field(default=10_000, ge=1)
    retention: dict[str, Any] = Field(default_factory=lambda: {"type": "balanced"})
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """How much is remembered; `bytes` is what the whole file uses, free pages left out."""

    episodes: int
    steps: int
    bytes: int


class ReplayMemory:
    """The memory of one run. One thread; close the database after it.

    Attributes:
        draws: the log of who was drawn and why.
    """

    def __init__(self, database: Database, embedder: Embedder, settings: MemorySettings | None = None) -> None:
        """Attach to the run's file, and make its tables if it is new.

        Raises:
            UserError: the store is of a newer version, or its vectors are another embedder's; no such retention.
        """
        self.settings = settings or MemorySettings()
        self._retention: Retention = load("memory.retention", self.settings.retention, "retention").build()
        self._database = database
        self._embedder = embedder
        database.migrate("memory", MIGRATIONS)
        pictures = Pictures(database)
        self._episodes = Episodes(database, pictures, self.settings.seed)
        self._pairs = Pairs(database, pictures)
        self._judgements = Judgements(database)
        self._vectors = Vectors(database, embedder)
        self.draws = Draws(database)
        self._catalogue = Catalogue(database)
        self._catalogue.columns()
        self._known = Known(database, self._catalogue, self._vectors, embedder.dimension)

    def add(self, episodes: Sequence[Episode], vectors: Sequence[np.ndarray] | None = None) -> int:
        """Remember episodes whose ids are new; each is safe once this returns (or once the outer transaction commits).

        Args:
            vectors: float32 `[steps, dimension]` an episode if they are known already; else the embedder is asked.

        Returns:
            How many were new.

        Raises:
            TypeError, ValueError: a value can't be stored, or a vector is not finite or of the wrong shape.
            UserError: the disk is full.
        """
        known = self._episodes.numbers([episode.id for episode in episodes])
        places: dict[str, int] = {}
        for place, episode in enumerate(episodes):
            if episode.id not in known:
                places.setdefault(episode.id, place)
        new = [episodes[place] for place in places.values()]
        matrices = (
            embed_steps(self._embedder, new) if vectors is None else [vectors[place] for place in places.values()]
        )
        for episode, matrix in zip(new, matrices, strict=True):
            check_vectors(matrix, len(episode.steps), self._embedder, f"episode {episode.id}")
            with self._database.transaction():
                row = self._episodes.write(episode)
                self._vectors.put(row[0], matrix)
            self._catalogue.append(row)
            self._known.came(episode.task, episode.cycle)
        return len(new)

    def settle(self, rng: np.random.Generator) -> int:
        """Write down what was drawn and measured and evict what is over capacity; call it in the commit's transaction.

        Returns:
            How many episodes were evicted.
        """
        bounds = self.settings
        with self._database.transaction():
            self._catalogue.write_marks()
            self.draws.write()
            self._pairs.trim(bounds.pair_capacity, bounds.seed)
            return make_room(
                self._view, self._evict, self._retention, bounds.capacity, self._database, bounds.capacity_mb, rng
            )

    def forget_after(self, cycle: int) -> int:
        """Drop episodes and pairs of cycles after this one, and what was rehearsed since: how a resumed run begins.

        Episodes of the group `memory.schema.LIVED` stay: no cycle played them.

        Returns:
            How many episodes went.
        """
        with self._database.transaction():
            gone = self._catalogue.undone(cycle)
            self._evict(gone)
            self._pairs.forget_after(cycle)
            self._judgements.forget_after(cycle)
            self.draws.forget_after(cycle)
        self._catalogue.forget_marks()
        return len(gone)

    def get(self, ids: Sequence[str]) -> list[Episode]:
        """These episodes in this order, as they were to the last bit. Treat pictures as read-only: they are shared.

        Raises:
            KeyError: one is not there.
            UserError: a picture is missing or damaged.
        """
        numbers = self._episodes.numbers(ids)
        missing = [name for name in ids if name not in numbers]
        if missing:
            raise KeyError(f"no episode {missing[0]!r} in memory")
        return self._episodes.read([numbers[name] for name in ids])

    def ids(self, task: str | None = None, before_cycle: int | None = None) -> list[str]:
        """Ids in order of arrival, of this task and of cycles before this one."""
        rows = self._database.execute(
            "SELECT id FROM episodes WHERE task = coalesce(?, task) AND (? IS NULL OR cycle < ?) ORDER BY number",
            (task, before_cycle, before_cycle),
        )
        return [name for (name,) in rows]

    def draw(
        self,
        recall: Recall,
        count: int,
        rng: np.random.Generator,
        before_cycle: int,
        tasks: Iterable[str] | None = None,
        like: Sequence[Failure] = (),
    ) -> list[Episode]:
        """Episodes to rehearse, of cycles before this one, that hold `count` steps together (or all there are).

        Whole episodes, none twice; those the world broke, or without steps, are left out. That they were rehearsed in
        cycle `before_cycle` is known to later draws at once, and to a resumed run once `settle` was committed.

        Args:
            count: in steps; the last episode may go beyond.
            tasks: of these only; None means all.
            like: what goes wrong now (see `failures`), for strategies that look for similar ones.

        Raises:
            UserError: the strategy broke its contract; a picture is missing or damaged.
        """
        view = self._view().where(self._catalogue.learnable(before_cycle, tasks))
        drawn = checked(recall, view, like, count, rng)
        episodes = self._episodes.read(drawn.numbers.tolist())
        self._catalogue.mark_seen(drawn.numbers, before_cycle)
        self.draws.note(before_cycle, REHEARSAL, zip((e.id for e in episodes), drawn.why, strict=True))
        return episodes

    def failures(
        self, most: int, rng: np.random.Generator, before_cycle: int, tasks: Iterable[str] | None = None
    ) -> list[Failure]:
        """What goes wrong now: a step each of up to `most` episodes that failed when their task was last played."""
        view = self._view().where(self._catalogue.learnable(before_cycle, tasks))
        return lookup.failures(self._vectors, view, most, rng)

    def note_drift(self, nats: Mapping[str, float]) -> None:
        """How far, by episode id, the champion is now from the policy that played it; the largest is kept."""
        numbers = self._episodes.numbers(list(nats))
        found = np.array(list(numbers.values()), np.int64)
        self._catalogue.mark_drift(found, np.array([nats[name] for name in numbers], np.float64))

    def search(self, what: Observation | np.ndarray, k: int) -> list[tuple[str, int, float]]:
        """The `k` steps most like an observation or a vector `[dimension]`: (episode id, step, cosine), best first.

        Raises:
            ValueError: the vector is not finite or of the wrong length.
        """
        queries = self._embedder.embed([what]) if isinstance(what, Observation) else np.asarray(what)[None]
        return lookup.named(self._episodes, *(row[0] for row in self._vectors.search(queries, k)))

    def successes(self, before_cycle: int, usable: Callable[[str], bool]) -> Successes:
        """Steps of successful episodes of cycles before this one; see `memory.successes`."""
        return Successes(self._database, self._vectors, self._embedder, before_cycle, usable)

    def novelty(
        self,
        observations: Sequence[Observation] | np.ndarray,
        k: int = 8,
        tasks: Collection[str] | None = None,
        before_cycle: int | None = None,
    ) -> np.ndarray:
        """How unlike anything remembered observations are, float32 `[n]`; see `memory.novelty.Known.novelty`.

        Args:
            observations: or their vectors, float32 `[n, dimension]`.
        """
        vectors = observations if isinstance(observations, np.ndarray) else self._embedder.embed(observations)
        return self._known.novelty(vectors, k, tasks, before_cycle)

    def add_pairs(self, pairs: Sequence[PreferencePair]) -> int:
        """Remember pairs that are new, in one transaction; returns how many were."""
        return self._pairs.add(pairs)

    def pairs(self, tasks: Iterable[str] | None = None, before_cycle: int | None = None) -> Iterator[PreferencePair]:
        """Remembered pairs in order of arrival, of these tasks and of cycles before this one, read page by page."""
        return self._pairs.paged(self._pairs.numbers(tasks, before_cycle))

    def draw_pairs(
        self, count: int, rng: np.random.Generator, before_cycle: int, tasks: Iterable[str] | None = None
    ) -> list[PreferencePair]:
        """`count` pairs at random (or all there are) of cycles before this one, in order of arrival."""
        return self._pairs.draw(count, rng, self._pairs.numbers(tasks, before_cycle))

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Remember what annotators said, as far as it is new."""
        self._judgements.add(judgements)

    def judged(self, keys: Sequence[bytes]) -> dict[bytes, float | None]:
        """Margins of those judgements that are known; None where there was no opinion."""
        return self._judgements.find(keys)

    def stats(self) -> MemoryStats:
        """How much is remembered."""
        columns = self._catalogue.columns()
        return MemoryStats(len(columns["number"]), int(columns["length"].sum()), used_bytes(self._database))

    def rebuild_index(self) -> None:
        """Make the vector index anew from SQLite."""
        self._vectors.rebuild()

    def save_index(self, always: bool = False) -> None:
        """Write the index file if much has changed, or anything with `always`. Only saves time at the next opening."""
        self._vectors.save(always)

    def _view(self) -> View:
        dimension = self._embedder.dimension
        return self._catalogue.view(
            NUMBER_BYTES * dimension,
            lambda numbers: lookup.mean_vectors(self._vectors, numbers, dimension),
            lambda view, queries, count: lookup.nearest(self._vectors, view, queries, count),
        )

    def _evict(self, numbers: np.ndarray) -> None:
        if len(numbers):
            columns = self._catalogue.columns()
            mine = places(columns["number"], numbers)
            lengths = columns["length"][mine].tolist()
            cycles = np.unique(columns["cycle"][mine]).tolist()
            self._episodes.delete(numbers.tolist())
            self._vectors.drop(list(zip(numbers.tolist(), lengths, strict=True)))
            self._catalogue.remove(numbers)
            self._known.went()
            self._pairs.forget_gone(cycles)
            self._judgements.forget_gone(cycles)
