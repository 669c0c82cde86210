"""Killed at every write of the switch from one index file to the next: the old one holds or the new one does."""

import shutil

import numpy as np
import pytest

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index_file import read_head
from memory.parts import open_parts
from memory.store import MemorySettings, ReplayMemory
from memory.vectors import Vectors
from memory.verify import verify
from tests.memory.dying import dies_at
from tests.memory.indexed import expected, wrong_neighbours
from tests.memory.making import assert_consistent, bits
from tests.memory.test_faults import made

DIMENSION = 16


def opened(path, capacity=1000):
    database = Database(path)
    return database, ReplayMemory(database, HashEmbedder(DIMENSION), MemorySettings(capacity=capacity))


@pytest.fixture
def saved(tmp_path):
    """Path of a closed store of 6 episodes whose index file has seen them all."""
    path = tmp_path / "saved.db"
    database, memory = opened(path)
    memory.add([made(i) for i in range(6)])
    memory.search(np.ones(DIMENSION), 1)
    memory.save_index(always=True)
    database.close()
    return path


def put_back(saved, path):
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    for beside in ("", ".index"):
        shutil.copy(f"{saved}{beside}", f"{path}{beside}")


def some_go_and_one_comes(path):
    """Evicted and added with the index in use, then the switch."""
    database, memory = opened(path, capacity=4)
    memory.search(np.ones(DIMENSION), 1)
    memory.settle(np.random.default_rng(0))
    memory.add([made(9)])
    memory.save_index(always=True)
    database.close()


def test_killed_at_every_write_of_it(saved, tmp_path):
    path, before = tmp_path / "run.db", read_head(tmp_path / "saved.db.index")
    sequences = []
    for n in range(1, 200):
        put_back(saved, path)
        if not dies_at(n, lambda: some_go_and_one_comes(path)):
            break
        head = read_head(tmp_path / "run.db.index")
        assert head is not None
        sequences.append(head["sequence"])
        database, memory = opened(path)
        assert bits(memory.get(memory.ids())) == bits([made(int(name[1:])) for name in memory.ids()])
        assert open_parts(database).vectors.file_state() == "sound", "a kill makes nobody build the index anew"
        assert not wrong_neighbours(database, memory, np.random.default_rng(0))
        assert_consistent(database, memory, DIMENSION)
        database.close()
    assert n > 40
    assert sequences == sorted(sequences), "first the old file, then the new one"
    assert sequences[0] == before["sequence"] == 6
    assert sequences[-1] == 9, "two went and one came"


def test_what_a_kill_left_beside_it_is_in_nobodys_way(saved, tmp_path):
    """Half of a file that was being written, from an earlier life."""
    path = tmp_path / "run.db"
    put_back(saved, path)
    (tmp_path / "run.db.index.tmp").write_bytes((tmp_path / "run.db.index").read_bytes()[:100])
    some_go_and_one_comes(path)
    assert not (tmp_path / "run.db.index.tmp").exists()
    with Database(path) as database:
        assert verify(open_parts(database)).sound


def test_killed_where_an_outgrown_index_is_made_anew(saved, tmp_path, monkeypatch):
    """The slow way to the switch: from a rebuild, with lists."""
    for name, value in (("EXACT", 10), ("FRESH", 4), ("PROBES", 10**6)):
        monkeypatch.setattr(f"memory.index.FaissIndex.{name}", value)
    path = tmp_path / "run.db"

    def life():
        with Database(path) as database:
            vectors = Vectors(database, HashEmbedder(DIMENSION))
            vectors.search(np.ones((1, DIMENSION)), 1)
            vectors.save()

    put_back(saved, path)
    old = (tmp_path / "run.db.index").read_bytes()
    for n in range(1, 200, 3):  # each third: what is done at each is shown above
        put_back(saved, path)
        if not dies_at(n, life):
            break
        with Database(path) as database:
            found, near = Vectors(database, HashEmbedder(DIMENSION)).search(np.ones((1, DIMENSION)), 5)
            truth = expected(database, np.ones(DIMENSION, np.float32), 5)
            assert len(found[0]) == 5
            np.testing.assert_allclose(near[0], [row[2] for row in truth], atol=1e-3)
    assert n > 20
    assert (tmp_path / "run.db.index").read_bytes() != old
