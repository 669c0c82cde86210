"""Episodes as rows: written, read and deleted whole, in the caller's transaction."""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from envs.types import Choices, Episode, Observation, StopReason
from memory.catalogue import COLUMNS as CATALOGUE_COLUMNS
from memory.codec import STEP_COLUMNS, pack_choices, pack_step, unpack_step
from memory.database import Database
from memory.images import Pictures
from memory.preferences import undiscounted_return
from memory.schema import STEP_BITS

_CHUNK = 500  # values in one SQL list
_SIZED = (str, bytes)
_EPISODE_COLUMNS = (
    "id, task, seed, grp, member, cycle, policy_version, stop, success, length, gain, final_text, final_pictures, "
    "priority, seen, bytes"
)
_INSERT_EPISODE = f"INSERT INTO episodes ({_EPISODE_COLUMNS}) VALUES ({','.join('?' * 16)})"
_INSERT_STEP = f"INSERT INTO steps (number, {STEP_COLUMNS}) VALUES ({','.join('?' * 13)})"


class Episodes:
    """The tables of episodes and steps."""

    def __init__(self, database: Database, pictures: Pictures, seed: int) -> None:
        self._database = database
        self._pictures = pictures
        self._seed = seed

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of those ids that are stored."""
        found: dict[str, int] = {}
        for chunk in _chunks(ids):
            sql = f"SELECT id, number FROM episodes WHERE id IN ({_marks(chunk)})"
            found.update(self._database.execute(sql, chunk).fetchall())
        return found

    def ids(self, numbers: Sequence[int]) -> dict[int, str]:
        """Ids of those numbers that are stored."""
        found: dict[int, str] = {}
        for chunk in _chunks(numbers):
            sql = f"SELECT number, id FROM episodes WHERE number IN ({_marks(chunk)})"
            found.update(self._database.execute(sql, chunk).fetchall())
        return found

    def write(self, episode: Episode) -> tuple[Any, ...]:
        """Store one that is not there; returns its row for the catalogue.

        Raises:
            TypeError, ValueError: a value of the episode can't be stored as it is.
        """
        length = len(episode.steps)
        if length >= 1 << STEP_BITS:
            raise ValueError(f"episode {episode.id} has {length} steps: fewer than {1 << STEP_BITS} can be stored")
        shown = self._pictures.put([*(step.observation.images for step in episode.steps), episode.final.images])
        rows = list(_step_rows(episode, shown))
        values = self._row(episode, shown[-1])
        values = (*values, sum(map(_size, (values, *rows))))
        number = self._database.execute(_INSERT_EPISODE, values).lastrowid
        assert number is not None  # SQLite gives one for every insert
        first = number << STEP_BITS
        self._database.executemany(_INSERT_STEP, [(first + place, *row) for place, row in enumerate(rows)])
        named = dict(zip(_EPISODE_COLUMNS.split(", "), values, strict=True))
        named |= {"number": number, "uses": 0, "drift": 0.0}
        return tuple(named[name] for name in CATALOGUE_COLUMNS.split(", "))

    def read(self, numbers: Sequence[int]) -> list[Episode]:
        """These episodes, in this order; their arrays may share pictures."""
        heads = [self._head(number) for number in numbers]
        sql = f"SELECT {STEP_COLUMNS} FROM steps WHERE number >= ? AND number < ? ORDER BY number"
        steps = [
            self._database.execute(sql, (number << STEP_BITS, (number + 1) << STEP_BITS)).fetchall()
            for number in numbers
        ]
        shown = self._pictures.get([*(row[1] for rows in steps for row in rows), *(head[12] for head in heads)])
        images = iter(shown)
        bodies = [tuple(unpack_step(row, next(images)) for row in rows) for rows in steps]
        return [_episode(head, body, next(images)) for head, body in zip(heads, bodies, strict=True)]

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete these, and every picture that nothing else shows."""
        spans = [(number << STEP_BITS, (number + 1) << STEP_BITS) for number in numbers]
        shown: list[bytes] = []
        for number, span in zip(numbers, spans, strict=True):
            rows = self._database.execute("SELECT pictures FROM steps WHERE number >= ? AND number < ?", span)
            shown += [data for (data,) in rows]
            final = self._database.execute("SELECT final_pictures FROM episodes WHERE number = ?", (number,))
            shown += [data for (data,) in final]
        self._database.executemany("DELETE FROM steps WHERE number >= ? AND number < ?", spans)
        self._database.executemany("DELETE FROM episodes WHERE number = ?", [(number,) for number in numbers])
        self._pictures.release(shown)

    def _row(self, episode: Episode, final_pictures: bytes) -> tuple[Any, ...]:
        return (
            episode.id,
            episode.task,
            int(episode.seed),
            episode.group,
            int(episode.member),
            int(episode.cycle),
            episode.policy_version,
            str(episode.stop),
            int(episode.success),
            len(episode.steps),
            struct.pack("<d", undiscounted_return(episode)),
            episode.final.text,
            final_pictures,
            priority(self._seed, episode.id.encode()),
            int(episode.cycle),
        )

    def _head(self, number: int) -> tuple[Any, ...]:
        row = self._database.execute(f"SELECT {_EPISODE_COLUMNS} FROM episodes WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise KeyError(f"no episode number {number}")
        return row


def _step_rows(episode: Episode, shown: Sequence[bytes]) -> Iterable[tuple[Any, ...]]:
    choices: Choices = None
    packed = None
    for place, step in enumerate(episode.steps):
        if step.choices is not choices:  # mostly the same object all along
            choices, packed = step.choices, pack_choices(step.choices)
        yield pack_step(step, shown[place], packed)


def _size(row: Sequence[Any]) -> int:
    """Of what has a length, as SQLite counts it: characters of texts, bytes of BLOBs."""
    return sum([len(value) for value in row if isinstance(value, _SIZED)])


def _episode(head: tuple[Any, ...], steps: tuple[Any, ...], final_images: tuple[np.ndarray, ...]) -> Episode:
    return Episode(
        id=head[0],
        task=head[1],
        seed=head[2],
        group=head[3],
        member=head[4],
        cycle=head[5],
        policy_version=head[6],
        steps=steps,
        final=Observation(head[11], final_images),
        stop=StopReason(head[7]),
        success=bool(head[8]),
    )


def priority(seed: int, name: bytes) -> float:
    """Uniform in [0, 1), from the name alone: who keeps the highest keeps a uniform sample of all that ever came."""
    digest = hashlib.blake2b(b"%d:%b" % (seed, name), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
