"""A small memory in a folder of its own, and a closed store whose index is saved."""

import numpy as np
import pytest

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index import FaissIndex
from memory.store import MemorySettings, ReplayMemory
from memory.vectors import Vectors
from tests.memory.indexed import DIMENSION, opened
from tests.memory.making import episode


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "run.db") as made:
        yield made


@pytest.fixture
def memory(database):
    return ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=6))


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
