"""The run's one SQLite file: memory, checkpoints, queue and outbox share it, so one transaction can commit a cycle.

A kill at any moment loses nothing that was committed. A power cut may lose the last second with `durability="normal"`
and nothing with `"full"`. One process at a time: a lock beside the file says who.
"""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from envs.component import UserError

FORMAT = 1
"""Of the file as a whole, in PRAGMA user_version; parts keep versions of their own in the table `parts`."""

WAL_PAGES = 4000  # about 16 MB between checkpoints: fewer waits for the disk while pictures pour in

Migration = Sequence["str | Callable[[Database], None]"]
"""SQL statements, and functions for what SQL can't do, from one version of a part to the next: in one transaction."""


class DamagedError(UserError):
    """The file as a whole is no database, or SQLite finds it damaged."""


class Database:
    """An open store, owned by this thread of this process until `close`.

    Attributes:
        rollbacks: how often something was undone. Whoever caches rows in RAM compares it with what it last saw.
    """

    def __init__(self, path: Path, durability: Literal["normal", "full"] = "normal") -> None:
        """Open or create the file; its folder is created too.

        Raises:
            UserError: another process has it open, it is no database, its versions are lost, or a newer holdtrue
                wrote it.
        """
        self.path = Path(path)
        self.rollbacks = 0
        self._depth = 0
        self._lost = False  # the outer transaction is gone although its block still runs
        _make_folder(self.path.parent)
        self._lock = _acquire(self.path)
        try:
            self._connection = sqlite3.connect(self.path, isolation_level=None)
            self._configure(durability)
            self._check_format()
        except BaseException:
            if hasattr(self, "_connection"):
                self._connection.close()
            os.close(self._lock)
            raise

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement. Outside `transaction()` it is committed by itself.

        Raises:
            UserError: the disk is full, or (a DamagedError) the file is damaged.
        """
        self._check_not_lost()
        try:
            return self._connection.execute(sql, values)
        except sqlite3.DatabaseError as error:
            self._explain(error)
            raise

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement a row; raises as `execute` does. Use it inside a `transaction()`."""
        self._check_not_lost()
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.DatabaseError as error:
            self._explain(error)
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another one it joins it: an exception undoes its own part, the outer one commits."""
        level = self._depth
        self.execute(f"SAVEPOINT level{level}" if level else "BEGIN IMMEDIATE")
        self._depth = level + 1
        try:
            yield
            self.execute(f"RELEASE level{level}" if level else "COMMIT")
        except BaseException:
            self._undo(level)
            raise
        finally:
            self._depth = level

    @property
    def in_transaction(self) -> bool:
        """Whether what is written now can still be undone."""
        return self._depth > 0

    def migrate(self, part: str, migrations: Sequence[Migration]) -> None:
        """Bring the tables of `part` to version `len(migrations)`; each step is committed by itself.

        Raises:
            UserError: a newer holdtrue wrote that part, or its version is lost.
        """
        row = self.execute("SELECT version FROM parts WHERE name = ?", (part,)).fetchone()
        version = row[0] if row else 0
        if version > len(migrations):
            raise self._too_new(f"{part} {version}", f"{part} {len(migrations)}")
        for number, steps in enumerate(migrations[version:], start=version + 1):
            with self._known_version(part, version), self.transaction():
                for step in steps:
                    if isinstance(step, str):
                        self.execute(step)
                    else:
                        step(self)
                self.execute("INSERT OR REPLACE INTO parts (name, version) VALUES (?, ?)", (part, number))

    @contextmanager
    def _known_version(self, part: str, version: int) -> Iterator[None]:
        """A part without a version has no tables; where it has some, their version was lost."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if version == 0 and "already exists" in str(error):
                raise self._versions_lost(f"tables of {part} without their version") from error
            raise

    def close(self) -> None:
        """Close the file and let others in. Closing twice is harmless."""
        if self._lock >= 0:
            self._connection.close()
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _configure(self, durability: str) -> None:
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if durability == 'full' else 'NORMAL'}",
            f"wal_autocheckpoint = {WAL_PAGES}",
            "cache_size = -32768",
            "foreign_keys = ON",
        ):
            self.execute(f"PRAGMA {pragma}")

    def _check_format(self) -> None:
        version = self.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise self._too_new(str(version), str(FORMAT))
        tables = {name for (name,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "parts" not in tables if version else tables:
            raise self._versions_lost("no table 'parts'" if version else "no format")
        if version < FORMAT:
            with self.transaction():
                self.execute("CREATE TABLE parts (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID")
                self.execute(f"PRAGMA user_version = {FORMAT}")

    def _undo(self, level: int) -> None:
        self.rollbacks += 1
        if not self._connection.in_transaction:
            self._lost = level > 0  # SQLite undid all of it by itself, as it does when the disk is full
        elif level:
            self._connection.execute(f"ROLLBACK TO level{level}")
            self._connection.execute(f"RELEASE level{level}")
        else:
            self._connection.execute("ROLLBACK")

    def _check_not_lost(self) -> None:
        if self._lost:
            raise RuntimeError(f"{self.path}: the transaction was undone as a whole; leave its block and start again.")

    def _too_new(self, found: str, known: str) -> UserError:
        return UserError(
            f"{self.path} has format {found}; this holdtrue knows {known}. "
            "Use the newer holdtrue that wrote it, or another --dir."
        )

    def _versions_lost(self, found: str) -> UserError:
        return UserError(
            f"{self.path} has {found}, as a damaged file that was salvaged may: how to read it is not known. "
            "Restore it from a copy, or begin a new run in another --dir."
        )

    def _explain(self, error: sqlite3.DatabaseError) -> None:
        """Raise what a person can act on instead; nothing where there is no such thing."""
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            raise UserError(
                f"{self.path}: the disk is full. What was committed is safe. "
                "Free some space and go on with --resume, or lower memory.capacity."
            ) from error
        if code is not None and code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise DamagedError(
                f"{self.path} is no database, or damaged ({error}). Restore the file from a copy, or use another --dir."
            ) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--dir {folder}: {error.strerror}. Use another --dir.") from error


def _acquire(path: Path) -> int:
    """Lock the file beside the database, for as long as the returned descriptor is open."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. Use another --dir.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise UserError(f"{path} is in use by another run (pid {owner}). Stop it, or use another --dir.") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    return lock
