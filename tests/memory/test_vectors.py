"""The index is a cache: whatever happens to its file, the neighbours are those of SQLite."""

import shutil

import numpy as np
import pytest

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index import ExactIndex, FaissIndex
from memory.index_file import read_head, write_file
from memory.store import ReplayMemory
from memory.vectors import Vectors
from tests.memory.indexed import DIMENSION, ROUNDING, opened, wrong_neighbours
from tests.memory.making import episode


def test_wrong_neighbours_would_be_seen(store, rng, monkeypatch):
    """The control of all tests here: the nearest is left out, or two are told in each other's place."""
    database, memory = opened(store)
    true = memory.search
    assert not wrong_neighbours(database, memory, rng)
    monkeypatch.setattr(memory, "search", lambda query, k: true(query, k + 1)[1:])
    assert len(wrong_neighbours(database, memory, rng)) == len(wrong_neighbours(database, memory, rng, ROUNDING)) == 5
    monkeypatch.setattr(memory, "search", lambda query, k: [*true(query, k)[1::-1], *true(query, k)[2:]])
    assert len(wrong_neighbours(database, memory, rng)) == 5
    database.close()


def test_a_good_file_is_used_and_the_rest_replayed(store, rng, rebuilds):
    database, memory = opened(store)
    memory.add([episode("new", rng, cycle=9)])
    assert not wrong_neighbours(database, memory, rng)
    database.close()
    database, memory = opened(store, capacity=5)  # the file has not seen "new", nor what goes now
    memory.settle(rng)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 0
    database.close()


def test_the_log_of_changes_is_trimmed_when_saved(store, rng, rebuilds):
    database, memory = opened(store)
    assert database.execute("SELECT count(*) FROM changes").fetchone() == (0,)
    assert not wrong_neighbours(database, memory, rng)
    memory.save_index(always=True)
    memory.forget_after(1)
    memory.save_index()
    assert database.execute("SELECT count(*) FROM changes").fetchone() == (0,)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 0
    database.close()


@pytest.mark.parametrize("place", [0, 3, 20, 45, 60, 120, 200, -1])
def test_a_flipped_bit_is_noticed(store, rng, rebuilds, place):
    file = store.with_name("run.db.index")
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)
    database, memory = opened(store)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


@pytest.mark.parametrize("keep", [0, 5, 40, 52, 100, 300, -1])
def test_a_truncated_file_is_noticed(store, rng, rebuilds, keep):
    file = store.with_name("run.db.index")
    file.write_bytes(file.read_bytes()[:keep])
    database, memory = opened(store)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_a_missing_file_is_made_anew(store, rng, rebuilds):
    store.with_name("run.db.index").unlink()
    database, memory = opened(store)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_a_whole_file_of_a_format_that_is_not_read_is_made_anew(store, rng, rebuilds):
    """As another FAISS may have written it: the checksum is right, the content is none of ours."""
    file = store.with_name("run.db.index")
    for content in (b"", b"IxZZ" * 100):
        write_file(file, read_head(file), lambda out, content=content: out.write(content))
        database, memory = opened(store)
        assert not wrong_neighbours(database, memory, rng)
        database.close()
    assert len(rebuilds) == 2


def test_a_file_that_lags_behind_a_trimmed_log_is_not_believed(store, rng, rebuilds, tmp_path):
    file = store.with_name("run.db.index")
    shutil.copy(file, tmp_path / "old")
    database, memory = opened(store)
    memory.forget_after(0)
    memory.add([episode(f"in place of {i}", rng) for i in range(8)])  # as many steps: no count tells
    memory.search(np.ones(DIMENSION), 1)
    memory.save_index(always=True)
    database.close()
    shutil.copy(tmp_path / "old", file)
    database, memory = opened(store)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_a_file_of_another_store_is_not_believed(store, rng, rebuilds, tmp_path):
    """Same numbers of everything, other pictures: only the store's own name tells them apart."""
    other = tmp_path / "other.db"
    database, memory = opened(other)
    memory.add([episode(f"{i}", np.random.default_rng(99), cycle=i // 4) for i in range(12)])
    database.close()
    shutil.copy(store.with_name("run.db.index"), tmp_path / "other.db.index")
    database, memory = opened(other)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_a_restored_older_database_does_not_believe_a_younger_index(store, rng, rebuilds, tmp_path):
    """The index has seen changes 13 and 14 that the restored file has not, and then makes differently."""
    shutil.copy(store, tmp_path / "copy.db")
    database, memory = opened(store)
    memory.add([episode(f"lost{i}", rng) for i in range(3)])
    memory.search(np.ones(DIMENSION), 1)
    memory.save_index(always=True)
    database.close()
    shutil.copy(tmp_path / "copy.db", store)
    for beside in ("-wal", "-shm"):
        store.with_name(f"run.db{beside}").unlink(missing_ok=True)
    for i in range(5):  # past the index's last change before anything is looked for
        database, memory = opened(store)
        memory.add([episode(f"other{i}", rng)])
        database.close()
    database, memory = opened(store)
    assert not wrong_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_changes_that_were_undone_are_undone_in_the_index(store, rng):
    database, memory = opened(store)
    with pytest.raises(KeyError), database.transaction():  # noqa: PT012 - the block is what fails
        memory.forget_after(0)
        memory.add([episode("undone", rng)])
        assert not wrong_neighbours(database, memory, rng)
        raise KeyError
    memory.add([episode("kept", rng)])
    assert not wrong_neighbours(database, memory, rng)
    database.close()


def test_saving_waits_for_the_end_of_a_transaction(store, rng):
    database, memory = opened(store)
    with database.transaction():
        memory.forget_after(0)
        memory.search(np.ones(DIMENSION), 1)
        before = store.with_name("run.db.index").read_bytes()
        memory.save_index(always=True)
        assert store.with_name("run.db.index").read_bytes() == before
    database.close()


def test_the_protocol_has_two_implementations_of_one_use(tmp_path, rng):
    """The same store searched by FAISS and by the oracle."""
    with Database(tmp_path / "run.db") as database:
        memory = ReplayMemory(database, HashEmbedder(DIMENSION))
        memory.add([episode(f"{i}", rng) for i in range(9)])
        queries = rng.normal(size=(4, DIMENSION)).astype(np.float32)
        found = [
            Vectors(database, HashEmbedder(DIMENSION), kind).search(queries, 5) for kind in (FaissIndex, ExactIndex)
        ]
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_where_nobody_searches_changes_are_dropped_that_no_file_has_a_use_for(store, rng, rebuilds):
    """36 steps are in the file. It is followed as long as it lacks fewer than there are; then it goes, and its changes.

    Without a file there is nothing that they are kept for: a life of months leaves none.
    """
    database, memory = opened(store, capacity=12)

    def changes():
        return database.execute("SELECT count(*) FROM changes").fetchone()[0]

    with database:
        memory.add([episode(f"new{i}", rng) for i in range(4)])
        memory.settle(np.random.default_rng(0))
        memory.save_index()
        assert (changes(), read_head(f"{store}.index") is not None) == (8, True), "24 steps of 36 are another way round"
        memory.add([episode(f"newer{i}", rng) for i in range(3)])
        memory.settle(np.random.default_rng(0))
        memory.save_index()
        assert (changes(), read_head(f"{store}.index")) == (0, None)
        for cycle in range(3):
            memory.add([episode(f"last{cycle}{i}", rng) for i in range(3)])
            memory.save_index()
            assert changes() == 0
        assert not rebuilds
        assert not wrong_neighbours(database, memory, rng)
        assert len(rebuilds) == 1
        memory.add([episode("after", rng)])
        assert not wrong_neighbours(database, memory, rng)
    database, memory = opened(store, capacity=12)
    with database:
        assert not wrong_neighbours(database, memory, rng)
