"""Forgetting for good: what a person asks to have removed leaves no byte in the run's file, nor in the index.

First a list of what would go; then one transaction removes it, and the file is written anew without it. Adapters that
had learned from it are not touched: the list says in which cycles it was learned from.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from envs.preface import FRONT
from memory.database import Database
from memory.images import unpack_numbers
from memory.parts import Parts
from memory.repair import rebuild
from memory.schema import LIVED, STEP_BITS

_ROW = f"number, id, task, iif(grp = '{LIVED}', NULL, cycle), iif(uses, seen, NULL)"
"""Of an episode; the last two are the cycles that learned from it: by playing it, and by rehearsing it last."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be forgotten: all that is said must hold. At least one of them is said.

    Attributes:
        task: of this regime.
        source: pairs and judgements of this source (`steps/oracle`), or whose annotator is this (`oracle`); an episode
            has no source, so none goes.
        before: of cycles before this one.
        id: this episode, and what was made from it.

    Episodes that were shown any of it as an example go with it: a copy stands in what they were asked.
    """

    task: str | None = None
    source: str | None = None
    before: int | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Going:
    """What would go; numbers are those of the tables' rows.

    Attributes:
        names: ids of the episodes, in order of arrival.
        tasks: how many episodes of each task.
        sources: how many pairs of each source, how many judgements of each.
        taught: cycles in which any of it was learned from: played, paired, judged or rehearsed.
        pictures: how many pictures nothing else shows.
    """

    episodes: tuple[int, ...]
    pairs: tuple[int, ...]
    judgements: tuple[int, ...]
    names: tuple[str, ...]
    tasks: dict[str, int]
    sources: tuple[dict[str, int], dict[str, int]]
    taught: frozenset[int]
    pictures: int

    @property
    def nothing(self) -> bool:
        return not (self.episodes or self.pairs or self.judgements)


def going(parts: Parts, wanted: Wanted) -> Going:
    """What `forget` would remove. Changes nothing."""
    database = parts.database
    episodes = [] if wanted.source is not None else _and_those_that_show(database, wanted)
    numbers, names, tasks = (tuple(row[i] for row in episodes) for i in (0, 1, 2))
    made = _Made(names, _shown_by(database, numbers))
    pairs = _matching(database, "pairs", wanted, made)
    judgements = _matching(database, "judgements", wanted, made)
    seen = {cycle for row in episodes for cycle in (row[3], row[4]) if cycle is not None}
    return Going(
        episodes=numbers,
        pairs=tuple(row[0] for row in pairs),
        judgements=tuple(row[0] for row in judgements),
        names=names,
        tasks=dict(Counter(tasks)),
        sources=(dict(Counter(row[3] for row in pairs)), dict(Counter(row[3] for row in judgements))),
        taught=frozenset(seen | {row[2] for row in (*pairs, *judgements)} | _drawn(database, wanted, names)),
        pictures=_pictures_going(database, numbers, [row[0] for row in pairs]),
    )


def forget(parts: Parts, what: Going) -> None:
    """Remove it in one transaction, then write the file and the index anew without it.

    Doing it again, also with nothing left to remove, mends what a kill or a full disk left undone.

    Raises:
        UserError: the disk is full: to write the file anew, as much must be free as it takes.
    """
    database = parts.database
    database.execute("PRAGMA secure_delete = ON")
    lengths = dict(database.execute("SELECT number, length FROM episodes"))
    with database.transaction():
        parts.episodes.delete(what.episodes)
        parts.vectors.drop([(number, lengths[number]) for number in what.episodes])
        parts.pairs.delete(what.pairs)
        database.executemany("DELETE FROM judgements WHERE number = ?", [(number,) for number in what.judgements])
    parts.vectors.discard_file()  # before the slow part: it holds vectors of what is gone
    database.execute("VACUUM")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    rebuild(parts)


@dataclass(frozen=True, slots=True)
class _Made:
    """By what one knows that something was made from the episodes that go."""

    names: tuple[str, ...]
    shown: set[tuple[str, bytes]]  # (text, pictures) of their steps

    def has(self, episodes: str, shown: tuple[str, bytes] | None) -> bool:
        """Stores of an older version don't say whose answers a pair is: then what it shows decides."""
        ids = json.loads(episodes)
        return not set(ids).isdisjoint(self.names) or (not ids and shown in self.shown)


def _matching_episodes(database: Database, wanted: Wanted) -> list[tuple[Any, ...]]:
    """The episodes, see `_ROW`, in order of arrival."""
    return database.execute(
        f"SELECT {_ROW} FROM episodes WHERE task = coalesce(?1, task) "
        "AND (?2 IS NULL OR cycle < ?2) AND id = coalesce(?3, id) ORDER BY number",
        (wanted.task, wanted.before, wanted.id),
    ).fetchall()


def _and_those_that_show(database: Database, wanted: Wanted) -> list[tuple[Any, ...]]:
    """What matches, and the episodes that were shown any of it as an example: a copy stands in their prompts.

    Nobody knows of what cycle an episode was that has been evicted: all that is of before some cycle takes its copies.
    """
    found = _matching_episodes(database, wanted)
    names = {row[1] for row in found} | ({wanted.id} if wanted.id is not None else set())
    steps = database.execute("SELECT number, info FROM steps WHERE instr(info, ?)", (f'"{FRONT}"',)).fetchall()
    fronts = [(number >> STEP_BITS, json.loads(info).get(FRONT)) for number, info in steps]
    shown = [(number, set(front["episodes"])) for number, front in fronts if front is not None]
    if wanted.before is not None and wanted.task is None and wanted.id is None:
        there = {name for (name,) in database.execute("SELECT id FROM episodes")}
        names |= {name for _, some in shown for name in some} - there
    numbers = {number for number, some in shown if not names.isdisjoint(some)} - {row[0] for row in found}
    sql = f"SELECT {_ROW} FROM episodes WHERE number = ?"
    rows = (database.execute(sql, (number,)).fetchone() for number in numbers)
    return sorted([*found, *(row for row in rows if row is not None)])  # a step may belong to no episode


def _matching(database: Database, table: str, wanted: Wanted, made: _Made) -> list[tuple[Any, ...]]:
    """(number, task, cycle, source, ...) of rows that are wanted themselves, or made from episodes that go."""
    shows = "text, pictures" if table == "pairs" else "NULL, NULL"
    rows = database.execute(f"SELECT number, task, cycle, source, episodes, {shows} FROM {table} ORDER BY number")
    return [row for row in rows if _is_wanted(row, wanted) or made.has(row[4], row[5:] if row[5] is not None else None)]


def _is_wanted(row: tuple[Any, ...], wanted: Wanted) -> bool:
    _, task, cycle, source, episodes = row[:5]
    return (
        wanted.task in (None, task)
        and (wanted.before is None or cycle < wanted.before)
        and (wanted.source is None or wanted.source in (source, source.rpartition("/")[2]))
        and (wanted.id is None or wanted.id in json.loads(episodes))
    )


def _shown_by(database: Database, numbers: Iterable[int]) -> set[tuple[str, bytes]]:
    """What steps of these episodes show; asked for only where a pair doesn't say whose it is."""
    if not database.execute("SELECT 1 FROM pairs WHERE episodes = '[]' LIMIT 1").fetchone():
        return set()
    sql = "SELECT text, pictures FROM steps WHERE number >= ? AND number < ?"
    return {row for n in numbers for row in database.execute(sql, (n << STEP_BITS, (n + 1) << STEP_BITS))}


def _drawn(database: Database, wanted: Wanted, names: Sequence[str]) -> set[int]:
    """Cycles that drew any of these from memory. An episode that is named may be gone by now."""
    known = {*names, *([wanted.id] if wanted.id is not None and wanted.source is None else [])}
    rows = database.execute("SELECT DISTINCT cycle, episode FROM drawn")
    return {cycle for cycle, name in rows if name in known}


def _pictures_going(database: Database, episodes: Iterable[int], pairs: Iterable[int]) -> int:
    """How many pictures have no mention but theirs."""
    mentions: Counter[int] = Counter()
    for number in episodes:
        span = (number << STEP_BITS, (number + 1) << STEP_BITS)
        sql = "SELECT pictures FROM steps WHERE number >= ? AND number < ? UNION ALL "
        rows = database.execute(f"{sql} SELECT final_pictures FROM episodes WHERE number = ?", (*span, number))
        mentions.update(n for (data,) in rows for n in unpack_numbers(data))
    for number in pairs:
        rows = database.execute("SELECT pictures FROM pairs WHERE number = ?", (number,))
        mentions.update(n for (data,) in rows for n in unpack_numbers(data))
    sql = "SELECT uses FROM pictures WHERE number = ?"
    return sum(database.execute(sql, (n,)).fetchone() == (count,) for n, count in mentions.items())
