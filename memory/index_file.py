"""The file of a vector index: a head and the index under one checksum; the old file stays until the new one is whole.

Bytes flow through in pieces: an index of a gigabyte is neither written nor read by way of a second one in RAM.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from envs.component import UserError

MAGIC = b"holdtrue index 3\n"  # 2: of vectors that were not rounded, so its cosines are others
_DIGEST = 32
_START = len(MAGIC) + _DIGEST

Head = dict[str, Any]
T = TypeVar("T")


class _Digesting:
    """Writes to a file and digests what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=_DIGEST)

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def digest(self) -> bytes:
        return self._digest.digest()


def write_file(path: Path, head: Head, write: Callable[[Any], None]) -> None:
    """Magic, digest, length of head, head as JSON, and what `write` writes; the switch to it is atomic.

    Raises:
        UserError: the disk is full or the folder can't be written. The old file is as it was.
    """
    aside = Path(f"{path}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(MAGIC + bytes(_DIGEST))
            digesting = _Digesting(file)
            said = json.dumps(head).encode()
            digesting.write(len(said).to_bytes(4, "little") + said)
            write(digesting)
            file.seek(len(MAGIC))
            file.write(digesting.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(
            f"{path}: {error.strerror}. Nothing is lost; free some space and go on with --resume."
        ) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_head(path: Path) -> Head | None:
    """The head as it stands, unchecked; None if there is no readable one."""
    try:
        with open(path, "rb") as file:
            return _head(file)
    except (OSError, ValueError):
        return None


def read_file(path: Path, believed: Callable[[Head], bool], read: Callable[[BinaryIO], T]) -> tuple[Head, T] | None:
    """Head and what `read` makes of the rest, if the head is believed and every byte is as written; else None."""
    try:
        with open(path, "rb") as file:
            head = _head(file)
            if head is None or not believed(head):
                return None
            start = file.tell()
            file.seek(len(MAGIC))
            said = file.read(_DIGEST)
            if hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST)).digest() != said:
                return None
            file.seek(start)
            return head, read(file)
    except (OSError, ValueError):
        return None


def _head(file: BinaryIO) -> Head | None:
    """Leaves the file where the head ends."""
    start = file.read(_START + 4)
    if not start.startswith(MAGIC):
        return None
    head = json.loads(file.read(int.from_bytes(start[-4:], "little")))
    return head if isinstance(head, dict) and isinstance(head.get("sequence"), int) else None
