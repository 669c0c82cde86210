"""The index is a cache: whatever happens to its file, the neighbours are those of SQLite."""

import shutil

import numpy as np
import pytest

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index import ExactIndex, FaissIndex
from memory.index_file import read_head, write_file
from memory.store import MemorySettings, ReplayMemory
from memory.vectors import Vectors
from tests.memory.making import episode

DIMENSION = 16
ROUNDING = 5e-4


def opened(path, capacity=1000):
    database = Database(path)
    return database, ReplayMemory(database, HashEmbedder(DIMENSION), MemorySettings(capacity=capacity))


def expected(database, query, k):
    """What exact search over the table of vectors says: (episode id, step, similarity)."""
    index = ExactIndex(DIMENSION)
    for number, data in database.execute("SELECT episode, data FROM vectors"):
        rows = np.frombuffer(data, np.float16).astype(np.float32).reshape(-1, DIMENSION)
        index.add((number << 20) + np.arange(len(rows)), rows)
    steps, near = index.search(query[None], k)
    names = dict(database.execute("SELECT number, id FROM episodes"))
    return [(names[s >> 20], s & 0xFFFFF, v) for s, v in zip(steps[0].tolist(), near[0].tolist(), strict=True)]


def assert_true_neighbours(database, memory, rng, rounding=0.0):
    """The true ones in their order, or as near as the true ones where lists round what they hold."""
    for query in rng.normal(size=(5, DIMENSION)).astype(np.float32):
        found, truth = memory.search(query, 7), expected(database, query, 10**6)
        near = {row[:2]: row[2] for row in truth}
        assert len({row[:2] for row in found}) == min(7, len(truth))
        if not rounding:
            assert [row[:2] for row in found] == [row[:2] for row in truth[:7]]
        np.testing.assert_allclose([near[row[:2]] for row in found], [row[2] for row in found], atol=1e-5 + rounding)
        np.testing.assert_allclose([row[2] for row in found], [row[2] for row in truth[:7]], atol=1e-5 + rounding)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def listed(monkeypatch):
    """Lists from 40 vectors on, all of which are looked at."""
    monkeypatch.setattr(FaissIndex, "EXACT", 40)
    monkeypatch.setattr(FaissIndex, "FRESH", 10)
    monkeypatch.setattr(FaissIndex, "PROBES", 10**6)


@pytest.fixture
def store(tmp_path, rng):
    """Path of a closed store of 12 episodes with a saved index."""
    path = tmp_path / "run.db"
    database, memory = opened(path)
    memory.add([episode(f"{i}", rng, cycle=i // 4) for i in range(12)])
    memory.search(np.ones(DIMENSION), 1)
    memory.save_index(always=True)
    database.close()
    return path


@pytest.fixture
def rebuilds(monkeypatch):
    """Grows by one each time an index is made anew from SQLite."""
    calls = []
    inner = Vectors.rebuild
    monkeypatch.setattr(Vectors, "rebuild", lambda self: (calls.append(1), inner(self)))
    return calls


def test_a_good_file_is_used_and_the_rest_replayed(store, rng, rebuilds):
    database, memory = opened(store)
    memory.add([episode("new", rng, cycle=9)])
    assert_true_neighbours(database, memory, rng)
    database.close()
    database, memory = opened(store, capacity=5)  # the file has not seen "new", nor what goes now
    memory.settle(rng)
    assert_true_neighbours(database, memory, rng)
    assert len(rebuilds) == 0
    database.close()


def test_the_log_of_changes_is_trimmed_when_saved(store, rng, rebuilds):
    database, memory = opened(store)
    assert database.execute("SELECT count(*) FROM changes").fetchone() == (0,)
    assert_true_neighbours(database, memory, rng)
    memory.save_index(always=True)
    memory.forget_after(1)
    memory.save_index()
    assert database.execute("SELECT count(*) FROM changes").fetchone() == (0,)
    assert_true_neighbours(database, memory, rng)
    assert len(rebuilds) == 0
    database.close()


@pytest.mark.parametrize("place", [0, 3, 20, 45, 60, 120, 200, -1])
def test_a_flipped_bit_is_noticed(store, rng, rebuilds, place):
    file = store.with_name("run.db.index")
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)
    database, memory = opened(store)
    assert_true_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


@pytest.mark.parametrize("keep", [0, 5, 40, 52, 100, 300, -1])
def test_a_truncated_file_is_noticed(store, rng, rebuilds, keep):
    file = store.with_name("run.db.index")
    file.write_bytes(file.read_bytes()[:keep])
    database, memory = opened(store)
    assert_true_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_a_missing_file_is_made_anew(store, rng, rebuilds):
    store.with_name("run.db.index").unlink()
    database, memory = opened(store)
    assert_true_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_a_whole_file_of_a_format_that_is_not_read_is_made_anew(store, rng, rebuilds):
    """As another FAISS may have written it: the checksum is right, the content is none of ours."""
    file = store.with_name("run.db.index")
    for content in (b"", b"IxZZ" * 100):
        write_file(file, read_head(file), lambda out, content=content: out.write(content))
        database, memory = opened(store)
        assert_true_neighbours(database, memory, rng)
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
    assert_true_neighbours(database, memory, rng)
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
    assert_true_neighbours(database, memory, rng)
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
    assert_true_neighbours(database, memory, rng)
    assert len(rebuilds) == 1
    database.close()


def test_changes_that_were_undone_are_undone_in_the_index(store, rng):
    database, memory = opened(store)
    with pytest.raises(KeyError), database.transaction():  # noqa: PT012 - the block is what fails
        memory.forget_after(0)
        memory.add([episode("undone", rng)])
        assert_true_neighbours(database, memory, rng)
        raise KeyError
    memory.add([episode("kept", rng)])
    assert_true_neighbours(database, memory, rng)
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


def live_at_random(tmp_path, rng, rounding):
    """Adds, evictions, rollbacks, saves and reopenings in random order: never a wrong neighbour."""
    path = tmp_path / "run.db"
    database, memory = opened(path, capacity=15)
    for moment in range(60):
        what = rng.integers(6)
        if what <= 1:
            new = [
                episode(f"{moment}-{i}", rng, "ab"[i % 2], length=int(rng.integers(0, 5)), cycle=moment)
                for i in range(4)
            ]
            memory.add(new)
        elif what == 2:
            memory.settle(rng)
        elif what == 3:
            memory.save_index(always=bool(rng.integers(2)))
        elif what == 4:
            try:
                with database.transaction():
                    memory.add([episode(f"undone{moment}", rng)])
                    memory.settle(rng)
                    if rng.integers(2):
                        memory.search(np.ones(DIMENSION), 3)
                    raise KeyError
            except KeyError:
                pass
        else:
            database.close()
            database, memory = opened(path, capacity=15)
        if rng.integers(2):
            assert_true_neighbours(database, memory, rng, rounding)
    database.close()


def test_random_life_against_the_oracle(tmp_path, rng):
    live_at_random(tmp_path, rng, 0.0)


def test_random_life_over_and_below_the_switch_to_lists(tmp_path, rng, listed, rebuilds):
    live_at_random(tmp_path, rng, ROUNDING)
    assert len(rebuilds) > 3


def test_an_outgrown_index_is_made_anew_when_a_cycle_is_saved_and_at_no_other_time(store, rng, rebuilds, listed):
    database, memory = opened(store)
    memory.add([episode(f"new{i}", rng, cycle=9) for i in range(3)])  # 45 steps: more than are compared one by one
    assert_true_neighbours(database, memory, rng)
    memory.save_index(always=True)  # someone leaves
    assert len(rebuilds) == 0
    with database.transaction():
        memory.save_index()
    assert len(rebuilds) == 0
    before = store.with_name("run.db.index").read_bytes()
    memory.save_index()
    assert len(rebuilds) == 1
    assert store.with_name("run.db.index").read_bytes() != before  # though nothing else has changed
    memory.save_index()
    assert len(rebuilds) == 1
    assert_true_neighbours(database, memory, rng, ROUNDING)
    database.close()


def test_lists_are_read_again_and_the_rest_replayed(store, rng, rebuilds, listed):
    database, memory = opened(store)
    memory.add([episode(f"new{i}", rng, cycle=9) for i in range(9)])
    memory.search(np.ones(DIMENSION), 1)
    memory.save_index()
    database.close()
    database, memory = opened(store)
    memory.forget_after(8)  # 36 of 63 steps stay
    memory.add([episode(f"newer{i}", rng, cycle=9) for i in range(3)])
    assert_true_neighbours(database, memory, rng, ROUNDING)
    assert len(rebuilds) == 1
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
        assert_true_neighbours(database, memory, rng)
        assert len(rebuilds) == 1
        memory.add([episode("after", rng)])
        assert_true_neighbours(database, memory, rng)
    database, memory = opened(store, capacity=12)
    with database:
        assert_true_neighbours(database, memory, rng)
