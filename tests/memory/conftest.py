"""A small memory in a folder of its own."""

import numpy as np
import pytest

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import MemorySettings, ReplayMemory


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "run.db") as opened:
        yield opened


@pytest.fixture
def memory(database):
    return ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=6))
