"""Stores of every older version are brought to this one: all of it or nothing, wherever it is killed."""

import shutil

import numpy as np
import pytest

from envs.component import UserError
from memory import halving
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.halving import halve_vectors
from memory.parts import open_parts
from memory.reembedding import Reembedding
from memory.schema import MIGRATIONS
from memory.store import ReplayMemory
from memory.unit_vectors import pack_vectors, unpack_vectors
from memory.vectors import Vectors
from memory.verify import verify
from tests.memory.dying import dies_at
from tests.memory.making import assert_consistent, bits
from tests.memory.test_faults import made

EMBEDDER = HashEmbedder(32)
MADE = [made(i) for i in range(6)]
OLDER = range(len(MIGRATIONS))  # 0: a file without a memory
TABLES = ("episodes", "steps", "pictures", "picture_data", "embedders", "vectors", "changes")


def copied(source, path, version):
    """The rows of a new store in the tables of an older version, vectors as they were then."""
    with Database(path) as database:
        database.execute(f"ATTACH '{source}' AS new")
        database.migrate("memory", MIGRATIONS[:version])
        for table in TABLES if version else ():
            columns = ", ".join(row[1] for row in database.execute(f"PRAGMA main.table_info({table})"))
            database.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        if version:
            for number, episode in enumerate(MADE, start=1):
                vectors = EMBEDDER.embed([step.observation for step in episode.steps])
                database.execute("UPDATE vectors SET data = ? WHERE episode = ?", (vectors.tobytes(), number))


@pytest.fixture
def old(tmp_path):
    """`old(version)`: the path of a closed store of that version; 0 is a file without a memory."""
    with Database(tmp_path / "new.db") as database:
        ReplayMemory(database, EMBEDDER).add(MADE)

    def make(version):
        path = tmp_path / f"version{version}.db"
        copied(tmp_path / "new.db", path, version)
        return path

    return make


def version_of(database):
    row = database.execute("SELECT version FROM parts WHERE name = 'memory'").fetchone()
    return row[0] if row else 0


def assert_whole(path, version):
    """As good as a store that was always of this version."""
    with Database(path) as database:
        memory = ReplayMemory(database, EMBEDDER)
        assert version_of(database) == len(MIGRATIONS)
        assert bits(memory.get(memory.ids())) == bits(MADE if version else [])
        assert_consistent(database, memory)
        assert verify(open_parts(database)).sound
        for number, episode in enumerate(MADE if version else [], start=1):
            (stored,) = database.execute("SELECT data FROM vectors WHERE episode = ?", (number,)).fetchone()
            assert stored == pack_vectors(EMBEDDER.embed([step.observation for step in episode.steps]))


@pytest.mark.parametrize("version", OLDER)
def test_every_older_version_becomes_this_one(old, version):
    path = old(version)
    assert_whole(path, version)
    assert_whole(path, version)


@pytest.mark.parametrize("version", OLDER)
def test_killed_at_every_statement_of_it(old, version, tmp_path, monkeypatch):
    """Each step leads from one whole version to the next, and the next opening goes on from there."""
    monkeypatch.setattr(halving, "_CHUNK", 2)  # several writes
    source, path = old(version), tmp_path / "killed.db"

    def life():
        Database(path).migrate("memory", MIGRATIONS)

    found = set()
    for n in range(1, 200):
        for file in tmp_path.glob("killed.db*"):
            file.unlink()
        shutil.copy(source, path)
        if not dies_at(n, life):
            break
        with Database(path) as database:
            found.add(version_of(database))
            if version and version_of(database) < len(MIGRATIONS):
                size = database.execute("SELECT sum(length(data)) FROM vectors").fetchone()[0]
                assert size == 4 * 32 * sum(len(e.steps) for e in MADE), "half of the vectors are halved"
        assert_whole(path, version)
    assert found >= set(range(version, len(MIGRATIONS)))
    assert n > 10
    assert_whole(path, version)


def test_an_index_of_the_old_vectors_is_made_anew(old, tmp_path, monkeypatch):
    """Though it is of this store and has followed every change."""
    path = old(2)
    with Database(path) as database:
        vectors = Vectors(database, EMBEDDER)
        monkeypatch.setattr("memory.vectors.unpack_vectors", lambda data, _: np.frombuffer(data, "<f4").reshape(-1, 32))
        monkeypatch.setattr("memory.index_file.MAGIC", b"holdtrue index 2\n")
        vectors.search(np.ones((1, 32)), 1)
        vectors.save(always=True)
        assert vectors.file_state() == "sound"
        monkeypatch.undo()
    with Database(path) as database:
        parts = open_parts(database)
        assert parts.vectors.file_state() == "doubtful"
        assert len(parts.vectors) == sum(len(e.steps) for e in MADE)
        parts.vectors.save(always=True)
        assert parts.vectors.file_state() == "sound"
        assert verify(parts).sound


def test_by_hand(database):
    """(3, 4) has length 5: (0.6, 0.8), rounded to 11 bits: 0.6 is 1228.8 / 2048, 0.8 is 1638.4 / 2048."""
    database.migrate("memory", MIGRATIONS[:2])
    database.execute("INSERT INTO embedders VALUES (1, 'e', 2)")
    data = np.array([[3, 4], [0, 0], [-1e30, 0], [np.inf, 1]], "<f4").tobytes()
    rows = [(1, data), (2, b""), (3, data[:-1]), (4, "no bytes")]
    database.executemany("INSERT INTO vectors VALUES (?, 1, ?)", rows)
    with database.transaction():
        halve_vectors(database)
    halved = dict(database.execute("SELECT episode, data FROM vectors"))
    vectors = unpack_vectors(halved.pop(1), 2)
    assert vectors[:3].tolist() == [[1229 / 2048, 1638 / 2048], [0, 0], [-1, 0]]
    assert not np.isfinite(vectors[3]).all()
    assert halved == {2: b"", 3: b"\0", 4: b"\0"}


@pytest.mark.parametrize("spoilt", ["substr(data, 2)", "'no bytes'"])
def test_vectors_that_were_cut_short_are_refused_as_before(old, spoilt):
    """And not taken for an episode without steps."""
    path = old(2)
    with Database(path) as database:
        database.execute(f"UPDATE vectors SET data = {spoilt} WHERE episode = 2")
        database.migrate("memory", MIGRATIONS)
        vectors = Vectors(database, EMBEDDER)
        with pytest.raises(UserError, match="vectors of episode 2 are cut short"):
            vectors.get(2)
        assert list(verify(open_parts(database)).episodes) == [2]


def test_a_reembedding_that_was_begun_goes_on(old, tmp_path, monkeypatch):
    path, other = old(2), HashEmbedder(48)
    monkeypatch.setattr("memory.reembedding.MIGRATIONS", MIGRATIONS[:2])
    monkeypatch.setattr("memory.reembedding.pack_vectors", lambda vectors: np.asarray(vectors, "<f4").tobytes())
    monkeypatch.setattr("memory.reembedding.BATCH_STEPS", 4)
    with Database(path) as database:
        steps = Reembedding(database, other).work()
        done = [next(steps) for _ in range(3)][-1][0]
        assert 0 < done < len(MADE)
    monkeypatch.undo()
    with Database(path) as database:
        work = Reembedding(database, other)
        steps = work.work()
        assert next(steps) == (done, len(MADE))
        list(steps)
        work.switch()
        assert_consistent(database, ReplayMemory(database, other), 48)
        assert verify(open_parts(database)).sound


def test_a_store_of_the_future_is_refused(old):
    path = old(len(MIGRATIONS))
    with Database(path) as database:
        database.execute("UPDATE parts SET version = version + 1")
    with Database(path) as database, pytest.raises(UserError, match="newer holdtrue"):
        ReplayMemory(database, EMBEDDER)
