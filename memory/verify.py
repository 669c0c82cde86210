"""Is all of the memory there, and does each table say what the others say? Every row and every picture is read.

Files are damaged by disks and by hand. What can't be read is named; `memory.repair` removes it or refuses.
"""

import json
import math
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.types import StopReason
from memory.codec import STEP_COLUMNS, unpack_action, unpack_choices, unpack_step
from memory.database import DamagedError
from memory.images import unpack_numbers
from memory.index_check import index_troubles
from memory.parts import Parts
from memory.schema import STEP_BITS
from memory.unit_vectors import NUMBER_BYTES, unpack_vectors

_PLACES = (1 << STEP_BITS) - 1


@dataclass(slots=True)
class Health:
    """What is wrong, in words.

    Attributes:
        file: with the file as a whole; nothing else was looked at then.
        episodes: by number, with an episode that can't be read or found whole.
        pairs: by number, with a pair.
        loose: counts of use that are wrong, and rows that belong to nothing.
        index: with the vector index.
        rest: what no repair can put right.
        looked_at: how many of each kind were looked at.
    """

    file: list[str] = field(default_factory=list)
    episodes: dict[int, str] = field(default_factory=dict)
    pairs: dict[int, str] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)
    index: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not (self.file or self.episodes or self.pairs or self.loose or self.index or self.rest)


def verify(parts: Parts) -> Health:
    """Look at everything, as far as SQLite itself can read the file."""
    try:
        told = [row[0] for row in parts.database.execute("PRAGMA integrity_check(10)")]
        return _look(parts) if told == ["ok"] else Health(file=told)
    except (DamagedError, sqlite3.DatabaseError) as error:  # the latter while rows are fetched
        return Health(file=[str(error)])


def _look(parts: Parts) -> Health:
    health = Health()
    lengths = _heads(parts, health)
    _steps(parts, health, lengths)
    _pair_rows(parts, health)
    _pictures(parts, health)
    _vectors(parts, health, lengths)
    _lists(parts, health)
    if not health.episodes and not health.loose and not health.rest:  # else the index can't be held against anything
        health.index = index_troubles(parts)
    return health


def _heads(parts: Parts, health: Health) -> dict[int, int]:
    """Length by number of every episode."""
    lengths: dict[int, int] = {}
    rows = parts.database.execute("SELECT number, length, stop, gain, drift, priority FROM episodes ORDER BY number")
    for number, length, stop, gain, drift, priority in rows:
        lengths[number] = length
        if stop not in set(StopReason) or len(gain) != 8 or not math.isfinite(drift) or not 0 <= priority <= 1:
            health.episodes[number] = "its row is damaged"
    health.looked_at["episodes"] = len(lengths)
    return lengths


def _steps(parts: Parts, health: Health, lengths: dict[int, int]) -> None:
    """Each step decodes; each episode has steps 0 to length - 1."""
    found: Counter[int] = Counter()
    strays = 0
    for number, *row in parts.database.execute(f"SELECT number, {STEP_COLUMNS} FROM steps ORDER BY number"):
        episode, place = number >> STEP_BITS, number & _PLACES
        if episode not in lengths:
            strays += 1
            continue
        if trouble := _trouble(_read_step, tuple(row)):
            health.episodes[episode] = f"its step {place} is damaged ({trouble})"
        elif place != found[episode]:
            health.episodes[episode] = f"its step {found[episode]} is missing"
        found[episode] += 1
    for episode, length in lengths.items():
        if found[episode] != length:
            health.episodes.setdefault(episode, f"it has {found[episode]} steps of {length}")
    for number, data in parts.database.execute("SELECT number, final_pictures FROM episodes"):
        if trouble := _trouble(unpack_numbers, data):
            health.episodes[number] = f"its last sight is damaged ({trouble})"
    if strays:
        health.loose.append(f"{strays} steps belong to no episode")
    health.looked_at["steps"] = found.total()


def _pair_rows(parts: Parts, health: Health) -> None:
    """Each pair decodes."""
    actions = [
        ", ".join([side, *(f"{side}_{part}" for part in ("tokens", "logprobs", "mode", "command", "readable"))])
        for side in ("chosen", "rejected")
    ]
    sql = f"SELECT number, pictures, choices, margin, episodes, {', '.join(actions)} FROM pairs"
    count = 0
    for number, pictures, choices, margin, episodes, *answers in parts.database.execute(sql):
        count += 1
        trouble = _trouble(_read_pair, choices, episodes, answers) or _trouble(unpack_numbers, pictures)
        if trouble or not math.isfinite(margin):
            health.pairs[number] = f"it is damaged ({trouble or 'its margin is no number'})"
    health.looked_at["pairs"] = count


def _pictures(parts: Parts, health: Health) -> None:
    """Each picture that is shown is there and whole, and its mentions are counted."""
    shown, damaged = parts.pictures.shown(), parts.pictures.damaged()
    counted = dict(parts.database.execute("SELECT number, uses FROM pictures"))
    missing = {number: f"picture {number} is missing" for number in shown if number not in counted}
    _blame(parts, health, damaged | missing)
    wrong = sum(shown[number] != uses for number, uses in counted.items())
    if wrong:
        health.loose.append(f"{wrong} pictures have a wrong count of use")
    sql = "SELECT count(*) FROM picture_data WHERE number NOT IN (SELECT number FROM pictures)"
    if strays := parts.database.execute(sql).fetchone()[0]:
        health.loose.append(f"the data of {strays} pictures belong to no picture")
    if unseen := [words for number, words in damaged.items() if not shown[number]]:
        health.loose.append(f"nothing shows {len(unseen)} pictures that are damaged")
    health.looked_at["pictures"] = len(counted)


def _blame(parts: Parts, health: Health, bad: dict[int, str]) -> None:
    """Name what shows a picture that can't be shown."""
    if not bad:
        return
    for table, number, pictures in parts.pictures.mentions():
        first = next((picture for picture in pictures if picture in bad), None)
        if first is not None:
            owner = number >> STEP_BITS if table == "steps" else number
            (health.pairs if table == "pairs" else health.episodes).setdefault(owner, bad[first])


def _vectors(parts: Parts, health: Health, lengths: dict[int, int]) -> None:
    """Each step has a vector that is finite and of the right length, all from one embedder."""
    width = NUMBER_BYTES * parts.embedder.dimension
    there: set[int] = set()
    makers: set[int] = set()
    strays = 0
    for episode, maker, data in parts.database.execute("SELECT episode, embedder, data FROM vectors"):
        there.add(episode)
        makers.add(maker)
        if episode not in lengths:
            strays += 1
        elif not isinstance(data, bytes) or len(data) != width * lengths[episode]:
            health.episodes.setdefault(episode, "its vectors are cut short")
        elif not np.isfinite(unpack_vectors(data, parts.embedder.dimension)).all():
            health.episodes.setdefault(episode, "a vector of it is not finite")
    for episode in lengths.keys() - there:
        health.episodes.setdefault(episode, "its vectors are missing")
    if strays:
        health.loose.append(f"the vectors of {strays} episodes belong to no episode")
    if len(makers) > 1:
        health.rest.append(f"vectors of {len(makers)} embedders are mixed, which can't be compared")


def _lists(parts: Parts, health: Health) -> None:
    """Judgements say whose they are."""
    sql = "SELECT count(*) FROM judgements WHERE NOT json_valid(episodes)"
    if damaged := parts.database.execute(sql).fetchone()[0]:
        health.loose.append(f"{damaged} judgements don't say whose answers they are about")


def _read_step(row: tuple[Any, ...]) -> None:
    unpack_step(row, ())
    unpack_numbers(row[1])


def _read_pair(choices: str | None, episodes: str, answers: Sequence[Any]) -> None:
    unpack_choices(choices)
    json.loads(episodes)
    for answer in (answers[:6], answers[6:]):
        unpack_action(*answer)


def _trouble(read: Callable[..., object], *what: Any) -> str:
    """Why it can't be read; empty if it can."""
    try:
        read(*what)
    except (ValueError, TypeError, struct.error) as error:  # what damaged bytes lead to
        return str(error)
    return ""
