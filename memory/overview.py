"""What a memory holds, in numbers, and what became of one episode."""

import json
from dataclasses import dataclass

from memory.database import Database
from memory.paging import used_bytes
from memory.parts import Parts
from memory.store import MemoryStats


@dataclass(frozen=True, slots=True)
class Stratum:
    """Episodes of one task and outcome.

    Attributes:
        first, last: oldest and newest cycle that played one.
        uses: how often they were rehearsed, all together.
        unused: how many never were.
    """

    task: str
    success: bool
    episodes: int
    steps: int
    first: int
    last: int
    uses: int
    unused: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A memory in numbers; bytes are those of the file's content, free pages left out.

    Attributes:
        pairs, judgements: how many, by source.
        drawn: how many were drawn, by use.
        index: what the index file is worth: missing, sound, doubtful.
        index_bytes: of the index file, beside the store.
    """

    strata: tuple[Stratum, ...]
    pairs: dict[str, int]
    judgements: dict[str, int]
    drawn: dict[str, int]
    pictures: int
    picture_bytes: int
    vector_bytes: int
    other_bytes: int
    index_bytes: int
    embedder: str
    dimension: int
    index: str


def overview(parts: Parts) -> Overview:
    """Count everything, in SQL."""
    database = parts.database
    pictures = _one(database, "SELECT coalesce(sum(length(data)), 0) FROM picture_data")
    vectors = _one(database, "SELECT coalesce(sum(length(data)), 0) FROM vectors")
    files = database.path.parent.glob(f"{database.path.name}.index*")
    return Overview(
        strata=_strata(database),
        pairs=_counts(database, "SELECT source, count(*) FROM pairs GROUP BY source ORDER BY source"),
        judgements=_counts(database, "SELECT source, count(*) FROM judgements GROUP BY source ORDER BY source"),
        drawn=_counts(database, "SELECT use, count(*) FROM drawn GROUP BY use ORDER BY use"),
        pictures=_one(database, "SELECT count(*) FROM pictures"),
        picture_bytes=pictures,
        vector_bytes=vectors,
        other_bytes=used_bytes(database) - pictures - vectors,
        index_bytes=sum(file.stat().st_size for file in files),
        embedder=parts.embedder.version,
        dimension=parts.embedder.dimension,
        index=parts.vectors.file_state(),
    )


def stats(database: Database) -> MemoryStats:
    """The few numbers of a report, without opening the memory."""
    pages, free, size = (_one(database, f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
    episodes, steps = database.execute("SELECT count(*), coalesce(sum(length), 0) FROM episodes").fetchone()
    return MemoryStats(episodes, steps, (pages - free) * size)


def _strata(database: Database) -> tuple[Stratum, ...]:
    rows = database.execute(
        "SELECT task, success, count(*), sum(length), min(cycle), max(cycle), sum(uses), sum(uses = 0) FROM episodes "
        "GROUP BY task, success ORDER BY task, success DESC"
    )
    return tuple(Stratum(task, bool(success), *numbers) for task, success, *numbers in rows)


# ------------------------------------------------------------------------------------------------------- one episode


@dataclass(frozen=True, slots=True)
class DrawLine:
    """An episode drawn from memory in a cycle: for what use, and why that one."""

    cycle: int
    use: str
    why: str


@dataclass(frozen=True, slots=True)
class PairLine:
    """A pair in short."""

    cycle: int
    source: str
    chosen: str
    rejected: str
    margin: float


@dataclass(frozen=True, slots=True)
class JudgementLine:
    """A judgement in short; `margin` is None where there was no opinion."""

    cycle: int
    source: str
    episodes: tuple[str, ...]
    margin: float | None


@dataclass(frozen=True, slots=True)
class Past:
    """What became of an episode, also of one that is no longer there.

    Attributes:
        uses: how often it was rehearsed.
        seen: the cycle that played or last rehearsed it; -1 if it isn't there.
    """

    uses: int
    seen: int
    drawn: tuple[DrawLine, ...]
    pairs: tuple[PairLine, ...]
    judgements: tuple[JudgementLine, ...]


def past(database: Database, name: str) -> Past:
    """What became of the episode with this id."""
    names_it = "EXISTS (SELECT 1 FROM json_each(episodes) WHERE value = ?) ORDER BY number"
    draws = database.execute("SELECT cycle, use, why FROM drawn WHERE episode = ? ORDER BY number", (name,))
    pairs = database.execute(f"SELECT cycle, source, chosen, rejected, margin FROM pairs WHERE {names_it}", (name,))
    judged = database.execute(f"SELECT cycle, source, episodes, margin FROM judgements WHERE {names_it}", (name,))
    uses, seen = database.execute("SELECT uses, seen FROM episodes WHERE id = ?", (name,)).fetchone() or (0, -1)
    return Past(
        uses,
        seen,
        tuple(DrawLine(*row) for row in draws),
        tuple(PairLine(*row) for row in pairs),
        tuple(JudgementLine(cycle, source, tuple(json.loads(ids)), margin) for cycle, source, ids, margin in judged),
    )


def similar_ids(database: Database, name: str, count: int = 3) -> list[str]:
    """Some ids that hold this text, oldest first."""
    sql = "SELECT id FROM episodes WHERE instr(id, ?) ORDER BY number LIMIT ?"
    return [found for (found,) in database.execute(sql, (name, count))]


def _one(database: Database, sql: str) -> int:
    return int(database.execute(sql).fetchone()[0])


def _counts(database: Database, sql: str) -> dict[str, int]:
    return dict(database.execute(sql).fetchall())
