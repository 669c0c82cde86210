"""Preference pairs in the run's file: stored once by content, with what the reference said of them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from envs.types import Observation
from memory.codec import pack_action, pack_choices, unpack_action, unpack_choices
from memory.database import Database
from memory.episodes import priority
from memory.images import Pictures, content_key
from memory.preferences import PreferencePair

_COLUMNS = (
    "task, cycle, source, margin, text, pictures, choices, "
    "chosen, chosen_tokens, chosen_logprobs, chosen_mode, chosen_command, chosen_readable, "
    "rejected, rejected_tokens, rejected_logprobs, rejected_mode, rejected_command, rejected_readable, "
    "reference_chosen, reference_rejected, episodes"
)
_PAGE = 64  # read at once
_INSERT = f"INSERT INTO pairs (key, {_COLUMNS}) VALUES ({','.join('?' * 23)})"


class Pairs:
    """The table of pairs."""

    def __init__(self, database: Database, pictures: Pictures) -> None:
        self._database = database
        self._pictures = pictures

    def add(self, pairs: Sequence[PreferencePair]) -> int:
        """Store what is not there yet, in one transaction; returns how many were new.

        Raises:
            ValueError: a margin is not finite.
        """
        with self._database.transaction():
            return sum(self._add(pair) for pair in pairs)

    def numbers(self, tasks: Iterable[str] | None = None, before_cycle: int | None = None) -> list[int]:
        """Numbers in order of arrival, of these tasks (None: of all) and of cycles before this one."""
        sql = (
            "SELECT number FROM pairs WHERE (?1 IS NULL OR task IN (SELECT value FROM json_each(?1))) "
            "AND (?2 IS NULL OR cycle < ?2) ORDER BY number"
        )
        wanted = None if tasks is None else json.dumps(list(tasks))
        return [number for (number,) in self._database.execute(sql, (wanted, before_cycle))]

    def read(self, numbers: Sequence[int]) -> list[PreferencePair]:
        """These pairs, in this order."""
        sql = f"SELECT {_COLUMNS} FROM pairs WHERE number = ?"
        rows = [self._database.execute(sql, (number,)).fetchone() for number in numbers]
        images = self._pictures.get(row[5] for row in rows)
        return [_unpack(row, shown) for row, shown in zip(rows, images, strict=True)]

    def paged(self, numbers: Sequence[int]) -> Iterator[PreferencePair]:
        """These pairs, in this order, read as they are asked for."""
        for start in range(0, len(numbers), _PAGE):
            yield from self.read(numbers[start : start + _PAGE])

    def draw(self, count: int, rng: np.random.Generator, numbers: Sequence[int]) -> list[PreferencePair]:
        """`count` of these pairs at random (or all of them), in their order; no other is read."""
        if len(numbers) > count:
            numbers = [numbers[i] for i in sorted(rng.choice(len(numbers), count, replace=False).tolist())]
        return list(self.paged(numbers))

    def trim(self, capacity: int, seed: int) -> int:
        """Delete what is over capacity, in the caller's transaction: a uniform sample of all that ever came stays.

        Returns:
            How many went.
        """
        over = self._database.execute("SELECT count(*) FROM pairs").fetchone()[0] - capacity
        if over <= 0:
            return 0
        rows = self._database.execute("SELECT number, key FROM pairs").fetchall()
        order = sorted(rows, key=lambda row: priority(seed, row[1]))
        self.delete([number for number, _ in order[:over]])
        return over

    def forget_gone(self, cycles: Sequence[int]) -> None:
        """Delete those whose episodes are all gone, when episodes of these cycles went, in the caller's transaction.

        Of these cycles or earlier: so what once stayed behind goes too.
        """
        sql = (
            "SELECT number FROM pairs WHERE cycle <= ? AND episodes <> '[]' AND NOT EXISTS (SELECT 1 FROM "
            "json_each(pairs.episodes) JOIN episodes ON episodes.id = json_each.value)"
        )
        self.delete([number for (number,) in self._database.execute(sql, (max(cycles, default=-1),))])

    def forget_after(self, cycle: int) -> int:
        """Delete pairs of later cycles, in the caller's transaction; returns how many."""
        rows = self._database.execute("SELECT number FROM pairs WHERE cycle > ?", (cycle,)).fetchall()
        self.delete([number for (number,) in rows])
        return len(rows)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete these, and every picture that nothing else shows, in the caller's transaction."""
        sql = "SELECT pictures FROM pairs WHERE number = ?"
        shown = [self._database.execute(sql, (number,)).fetchone()[0] for number in numbers]
        self._pictures.release(shown)
        self._database.executemany("DELETE FROM pairs WHERE number = ?", [(number,) for number in numbers])

    def _add(self, pair: PreferencePair) -> bool:
        if not np.isfinite(pair.margin):
            raise ValueError(f"a pair's margin is {pair.margin}: it prefers nothing")
        values = _pack(pair)
        shown = b"".join(content_key(image) for image in pair.observation.images)
        # references and episodes are left out: a pair scored again, or met again, is the same pair
        key = hashlib.blake2b(repr((values[:-3], shown)).encode(), digest_size=16).digest()
        known = self._database.execute("SELECT number, episodes FROM pairs WHERE key = ?", (key,)).fetchone()
        if known:
            self._met_again(known[0], known[1], pair.episodes)
            return False
        (pictures,) = self._pictures.put([pair.observation.images])
        self._database.execute(_INSERT, (key, *values[:5], pictures, *values[5:]))
        return True

    def _met_again(self, number: int, known: str, episodes: Sequence[str]) -> None:
        """Note more episodes that a pair comes from: it goes with any of them."""
        there = json.loads(known)
        new = [name for name in episodes if name not in there]
        if new:
            self._database.execute(
                "UPDATE pairs SET episodes = ? WHERE number = ?", (json.dumps([*there, *new]), number)
            )


def _pack(pair: PreferencePair) -> tuple[Any, ...]:
    """Values of _COLUMNS but for the pictures."""
    return (
        pair.task,
        pair.cycle,
        pair.source,
        float(pair.margin),
        pair.observation.text,
        pack_choices(pair.choices),
        *pack_action(pair.chosen),
        *pack_action(pair.rejected),
        *(pair.reference_logprobs or (None, None)),
        json.dumps(pair.episodes),
    )


def _unpack(row: tuple[Any, ...], images: tuple[np.ndarray, ...]) -> PreferencePair:
    return PreferencePair(
        observation=Observation(row[4], images),
        choices=unpack_choices(row[6]),
        chosen=unpack_action(*row[7:13]),
        rejected=unpack_action(*row[13:19]),
        margin=row[3],
        source=row[2],
        reference_logprobs=None if row[19] is None else (row[19], row[20]),
        task=row[0],
        cycle=row[1],
        episodes=tuple(json.loads(row[21])),
    )
