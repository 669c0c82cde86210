"""Pictures, each stored once by its content in the run's SQLite file, and gone when nothing shows it any more."""

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import numpy as np

from envs.component import UserError
from memory.database import Database
from memory.schema import STEP_BITS

_SHAPE = struct.Struct("<III")
_RAW, _ZLIB = 0, 1
LEVEL = 3  # on drawn pictures as fast as 1, and a fifth smaller
_PROBE = 4096  # bytes of a large picture tried first: noise is not worth compressing, and takes longest
_LARGE = 1 << 16
_WORTH = 0.9  # compressed is kept when it is at most this much of raw
_CHUNK = 500  # values in one SQL list
_SHOW = (  # table, column, which of its rows
    ("steps", "pictures", f"WHERE number >> {STEP_BITS} IN (SELECT number FROM episodes)"),
    ("episodes", "final_pictures", ""),
    ("pairs", "pictures", ""),
)


def content_key(image: np.ndarray) -> bytes:
    """Blake2b-16 over shape and bytes.

    Raises:
        ValueError: the image is not uint8 `[H, W, C]`.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"a picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    digest = hashlib.blake2b(_SHAPE.pack(*image.shape), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class Pictures:
    """Pictures by number. Every mention counts; call `release` once for each mention that goes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, observations: Sequence[Sequence[np.ndarray]]) -> list[bytes]:
        """Store the pictures of many observations.

        Returns:
            For each observation its picture numbers, packed as int64: what `get` and `release` take.
        """
        seen: dict[int, bytes] = {}  # by object: episodes share arrays, and hashing costs more than a lookup
        wanted: dict[bytes, np.ndarray] = {}
        keys: list[list[bytes]] = []
        for images in observations:
            for image in images:
                if id(image) not in seen:
                    seen[id(image)] = key = content_key(image)
                    wanted.setdefault(key, image)
            keys.append([seen[id(image)] for image in images])
        counts = Counter(key for row in keys for key in row)
        numbers = self._numbers(wanted)
        self._database.executemany(
            "UPDATE pictures SET uses = uses + ? WHERE number = ?", [(n, numbers[key]) for key, n in counts.items()]
        )
        return [pack_numbers([numbers[key] for key in row]) for row in keys]

    def get(self, packed: Iterable[bytes]) -> list[tuple[np.ndarray, ...]]:
        """The pictures behind what `put` gave; those of one content are one array, so treat them as read-only.

        Raises:
            UserError: a picture is missing or damaged.
        """
        rows = [unpack_numbers(data) for data in packed]
        images = self._read(sorted({number for row in rows for number in row}))
        return [tuple(images[number] for number in row) for row in rows]

    def release(self, packed: Iterable[bytes]) -> None:
        """Take back one mention of each picture in each entry; a picture that nothing shows is deleted."""
        counts = Counter(number for data in packed for number in unpack_numbers(data))
        self._database.executemany(
            "UPDATE pictures SET uses = uses - ? WHERE number = ?", [(n, number) for number, n in counts.items()]
        )
        gone = [(number,) for number in counts]
        self._database.executemany(
            "DELETE FROM picture_data WHERE number = ? AND 0 = "
            "(SELECT uses FROM pictures WHERE pictures.number = picture_data.number)",
            gone,
        )
        self._database.executemany("DELETE FROM pictures WHERE number = ? AND uses = 0", gone)

    def damaged(self) -> dict[int, str]:
        """Numbers of pictures that can't be shown, and why in words; every picture is read."""
        wrong = {}
        sql = "SELECT number, key, shape, codec, data FROM pictures LEFT JOIN picture_data USING (number)"
        for number, key, shape, codec, data in self._database.execute(sql):
            try:
                if data is None:
                    raise ValueError("is missing")
                _decode(key, shape, codec, data)
            except ValueError as error:
                wrong[number] = f"picture {number} {error}"
        return wrong

    def mentions(self) -> Iterator[tuple[str, int, list[int]]]:
        """Who shows what: table, number of its row, and numbers of pictures.

        What can't be read shows nothing, nor does a step of no episode.
        """
        for table, column, where in _SHOW:
            for number, data in self._database.execute(f"SELECT number, {column} FROM {table} {where}"):
                with suppress(ValueError, TypeError):
                    yield table, number, unpack_numbers(data)

    def shown(self) -> Counter[int]:
        """How often each picture is shown: what its count of use should be."""
        return Counter(picture for _, _, pictures in self.mentions() for picture in pictures)

    def _numbers(self, wanted: dict[bytes, np.ndarray]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        keys = list(wanted)
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            sql = f"SELECT key, number FROM pictures WHERE key IN ({','.join('?' * len(chunk))})"
            found.update(self._database.execute(sql, chunk).fetchall())
        new = [key for key in keys if key not in found]
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            sql = f"INSERT INTO pictures (key, uses) VALUES {','.join(['(?, 0)'] * len(chunk))} RETURNING key, number"
            found.update(self._database.execute(sql, chunk).fetchall())
        self._database.executemany(
            "INSERT INTO picture_data (number, shape, codec, data) VALUES (?, ?, ?, ?)",
            [(found[key], _SHAPE.pack(*wanted[key].shape), *_compress(wanted[key])) for key in new],
        )
        return found

    def _read(self, numbers: Sequence[int]) -> dict[int, np.ndarray]:
        images: dict[int, np.ndarray] = {}
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            sql = (
                "SELECT number, key, shape, codec, data FROM pictures JOIN picture_data USING (number) "
                f"WHERE number IN ({','.join('?' * len(chunk))})"
            )
            for number, key, shape, codec, data in self._database.execute(sql, chunk):
                try:
                    images[number] = _decode(key, shape, codec, data)
                except ValueError as error:
                    raise self._damaged(f"picture {number} {error}") from error
        if len(images) < len(numbers):
            missing = next(number for number in numbers if number not in images)
            raise self._damaged(f"picture {missing} is missing")
        return images

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._database.path}: {what}. Restore the file from a copy, or use another --dir.")


def _decode(key: bytes, shape: bytes, codec: int, data: bytes) -> np.ndarray:
    """Uint8 `[H, W, C]`; raises ValueError, in words that go on from the picture's name."""
    try:
        raw = zlib.decompress(data) if codec == _ZLIB else data
        image = np.frombuffer(raw, dtype=np.uint8).reshape(_SHAPE.unpack(shape)).copy()
    except (zlib.error, struct.error, ValueError) as error:
        raise ValueError(f"does not decode ({error})") from error
    if content_key(image) != key:
        raise ValueError("is not what was stored")
    return image


def _compress(image: np.ndarray) -> tuple[int, bytes]:
    raw = np.ascontiguousarray(image).tobytes()
    if len(raw) > _LARGE and len(zlib.compress(raw[:_PROBE], LEVEL)) > _WORTH * _PROBE:
        return _RAW, raw
    data = zlib.compress(raw, LEVEL)
    return (_ZLIB, data) if len(data) <= _WORTH * len(raw) else (_RAW, raw)


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Picture numbers as an observation's row has them."""
    return np.array(numbers, dtype="<i8").tobytes()


def unpack_numbers(data: bytes) -> list[int]:
    """The inverse of `pack_numbers`; raises ValueError if bytes are missing."""
    return np.frombuffer(data, dtype="<i8").tolist()
