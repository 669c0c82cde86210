"""The one SQLite file: transactions, versions, the lock, the full disk."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from envs.component import UserError
from memory.database import FORMAT, Database

# ruff: noqa: PT012 - what is tested is the block that fails

TABLE = [("CREATE TABLE t (x INTEGER)",)]


@pytest.fixture
def database(tmp_path: Path):
    with Database(tmp_path / "run.db") as opened:
        opened.migrate("test", TABLE)
        yield opened


def rows(database: Database) -> list[int]:
    return [x for (x,) in database.execute("SELECT x FROM t ORDER BY x")]


def put(database: Database, x: int) -> None:
    database.execute("INSERT INTO t VALUES (?)", (x,))


def test_transaction_commits_or_undoes(database):
    with database.transaction():
        put(database, 1)
    with pytest.raises(KeyError), database.transaction():
        put(database, 2)
        raise KeyError
    assert rows(database) == [1]
    assert database.rollbacks == 1
    assert not database.in_transaction


def test_nested_joins_the_outer_one(database):
    with pytest.raises(KeyError), database.transaction():
        with database.transaction():
            put(database, 1)
        raise KeyError
    assert rows(database) == []


def test_nested_failure_undoes_its_own_part_only(database):
    with database.transaction():
        put(database, 1)
        with pytest.raises(KeyError), database.transaction():
            put(database, 2)
            with database.transaction():
                put(database, 3)
            raise KeyError
        put(database, 4)
    assert rows(database) == [1, 4]


def test_full_disk_is_said_and_nothing_is_half_written(database):
    put(database, 0)
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 8}")
    with pytest.raises(UserError, match=r"the disk is full.*--resume"), database.transaction():
        for x in range(1, 100_000):
            put(database, x)
    assert rows(database) == [0]
    put(database, 1)
    assert rows(database) == [0, 1]


def test_full_disk_caught_by_the_outer_block_does_not_commit_the_rest(database):
    """SQLite may undo the outer transaction too: what follows must not be written by itself."""
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 8}")
    before = rows(database)
    try:
        with database.transaction():
            with pytest.raises(UserError), database.transaction():
                for x in range(100_000):
                    put(database, x)
            put(database, -1)
        assert rows(database) == [*before, -1]
    except RuntimeError:
        assert rows(database) == before
    put(database, 7)
    assert 7 in rows(database)


def test_durability_is_an_option(tmp_path):
    for durability, expected in (("normal", 1), ("full", 2)):
        with Database(tmp_path / f"{durability}.db", durability=durability) as database:
            assert database.execute("PRAGMA synchronous").fetchone()[0] == expected
            assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_migrations_go_on_where_they_stopped(tmp_path):
    path = tmp_path / "run.db"
    with Database(path) as database:
        database.migrate("test", TABLE)
        put(database, 5)
    two = [*TABLE, ("ALTER TABLE t ADD COLUMN y INTEGER DEFAULT 3", "UPDATE t SET x = x + 1")]
    for _ in range(2):
        with Database(path) as database:
            database.migrate("test", two)
            assert database.execute("SELECT x, y FROM t").fetchall() == [(6, 3)]


def test_a_failed_migration_leaves_the_old_version(tmp_path):
    with Database(tmp_path / "run.db") as database:
        database.migrate("test", TABLE)
        with pytest.raises(sqlite3.OperationalError):
            database.migrate("test", [*TABLE, ("INSERT INTO t VALUES (1)", "SELECT nonsense")])
        assert rows(database) == []
        assert database.execute("SELECT version FROM parts").fetchall() == [(1,)]


def test_a_store_of_the_future_is_refused(tmp_path):
    path = tmp_path / "run.db"
    with Database(path) as database:
        database.migrate("test", [*TABLE, ("SELECT 1",)])
        with pytest.raises(UserError, match=r"has format test 2; this holdtrue knows test 1.*newer holdtrue"):
            database.migrate("test", TABLE)
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UserError, match=rf"has format {FORMAT + 1}"):
        Database(path)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("DROP TABLE parts", "has no table 'parts', as a damaged file that was salvaged may"),
        ("DELETE FROM parts", "has tables of test without their version"),
        ("PRAGMA user_version = 0", "has no format, as a damaged"),
    ],
)
def test_a_salvaged_file_that_lost_its_versions_is_refused(database, lost, said):
    """It is not taken for a new one, nor for one of some version: what is there is left as it is."""
    put(database, 1)
    database.execute(lost)
    database.close()
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{said}.* Restore it from a copy"), Database(database.path) as again:
            again.migrate("test", TABLE)
    assert sqlite3.connect(database.path).execute("SELECT x FROM t").fetchall() == [(1,)]


def test_no_database_is_refused_and_the_lock_is_let_go(tmp_path):
    path = tmp_path / "run.db"
    path.write_bytes(b"this is no database" * 100)
    for _ in range(2):
        with pytest.raises(UserError, match="is no database, or damaged"):
            Database(path)


def test_second_opening_names_the_owner(tmp_path):
    path = tmp_path / "run.db"
    message = rf"is in use by another run \(pid {os.getpid()}\). Stop it, or use another --dir."
    with Database(path):
        with pytest.raises(UserError, match=message):
            Database(path)
        script = f"from pathlib import Path; from memory.database import Database; Database(Path({str(path)!r}))"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert other.returncode == 1
        assert f"(pid {os.getpid()})" in other.stderr
    Database(path).close()


def test_unusable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Use another --dir"):
        Database(tmp_path / "file" / "run.db")


def test_an_error_that_no_one_can_act_on_is_not_its_own_cause(database):
    """Who follows the causes of an error comes to an end."""
    for run in (lambda: database.execute("SELECT nothing"), lambda: database.executemany("DELETE FROM nothing", [()])):
        with pytest.raises(sqlite3.OperationalError) as raised:
            run()
        assert raised.value.__cause__ is None
