"""Memory stays within its bounds, by count and by bytes, and says truly how much it holds."""

import numpy as np
import pytest

from envs.types import Observation
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.paging import blob_bytes
from memory.schema import MIGRATIONS
from memory.store import MemorySettings, ReplayMemory
from tests.memory.making import assert_consistent, episode, step

MEGABYTE = 1_000_000


def held(database):
    """Bytes counted anew from every table: the oracle."""
    texts = {
        "episodes": "id task grp policy_version stop gain final_text final_pictures",
        "steps": "text pictures choices said tokens logprobs mode command numbers info",
        "vectors": "data",
        "picture_data": "data",
    }
    sums = (
        f"SELECT coalesce(sum({' + '.join(f'coalesce(length({c}), 0)' for c in columns.split())}), 0) FROM {table}"
        for table, columns in texts.items()
    )
    return sum(database.execute(sql).fetchone()[0] for sql in sums)


def noisy(name, rng, length=3, **changes):
    """An episode of raw pictures, 3 KB each, and one that all share."""
    shown = [Observation("<image>", (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),)) for _ in range(length)]
    shared = Observation("<image>", (np.arange(30000, dtype=np.uint32).astype(np.uint8).reshape(100, 100, 3),))
    return episode(name, rng, steps=tuple(step(o) for o in [*shown, shared]), final=shared, **changes)


def opened(database, **settings):
    return ReplayMemory(database, HashEmbedder(32), MemorySettings(**settings))


@pytest.mark.parametrize("retention", ["balanced", "reservoir", "rewarded", "coverage"])
def test_the_bound_in_bytes_holds_and_is_used(database, rng, retention):
    memory = opened(database, capacity_mb=0.3, retention={"type": retention})
    empty = memory.stats().bytes
    for cycle in range(3):
        memory.add([noisy(f"{cycle}.{i}", rng, int(rng.integers(1, 9)), cycle=cycle) for i in range(20)])
        memory.add([noisy(f"{cycle}.b", rng, 9, task="b", cycle=cycle)])
        assert held(database) > 0.3 * MEGABYTE
        evicted = memory.settle(rng)
        assert evicted > 0
        assert 0.5 * 0.3 * MEGABYTE < held(database) <= 0.3 * MEGABYTE
        assert memory.stats().bytes - empty <= 1.05 * 0.3 * MEGABYTE
        assert {e.task for e in memory.get(memory.ids())} == {"goto", "b"}
        assert memory.settle(rng) == 0
    assert_consistent(database, memory)


def test_both_bounds_hold_together(database, rng):
    memory = opened(database, capacity=5, capacity_mb=0.3)
    memory.add([noisy(f"{i}", rng) for i in range(20)])
    memory.settle(rng)
    assert memory.stats().episodes == 5
    memory = opened(database, capacity=5, capacity_mb=0.06)
    memory.settle(rng)
    assert 0 < memory.stats().episodes < 5
    assert held(database) <= 0.06 * MEGABYTE


@pytest.mark.parametrize("size", [10, 300, 1000, 1400, 2100, 3000, 4030, 4100, 6000, 8200, 12288, 50000])
def test_blobs_take_what_sqlite_gives_them(tmp_path, size):
    with Database(tmp_path / "blobs.db") as database, database.transaction():
        database.execute("CREATE TABLE blobs (number INTEGER PRIMARY KEY, shape BLOB, codec INTEGER, data BLOB)")
        pages = lambda: database.execute("PRAGMA page_count").fetchone()[0]  # noqa: E731
        before = pages()
        database.executemany("INSERT INTO blobs VALUES (?, ?, 1, ?)", [(i, bytes(12), bytes(size)) for i in range(400)])
        taken = 4096 * (pages() - before)
        assert 400 * int(blob_bytes(np.array([size]))[0]) == pytest.approx(taken, rel=0.05, abs=4096)


def test_a_shared_picture_counts_once(database, rng):
    """40 episodes show one picture of noise, 30 KB: together they are within 0.1 MB, and none goes."""
    shared = Observation("<image>", (rng.integers(0, 256, (100, 100, 3), dtype=np.uint8),))
    memory = opened(database, capacity_mb=0.1)
    memory.add([episode(f"{i}", rng, steps=(step(shared),), final=shared) for i in range(40)])
    assert memory.settle(rng) == 0


def test_an_episode_that_is_too_large_alone_goes_too(database, rng):
    memory = opened(database, capacity_mb=0.01)
    memory.add([noisy("large", rng)])
    assert memory.settle(rng) == 1
    assert_consistent(database, memory)


def test_bytes_are_counted_the_same_however_the_run_went(tmp_path, rng):
    """Killed after adding half a cycle and repeated, and never killed: the same episodes stay."""
    past = [noisy(f"p{i}", rng, int(rng.integers(1, 9))) for i in range(12)]
    fresh = [noisy(f"f{i}", rng, int(rng.integers(1, 9)), cycle=1) for i in range(12)]
    left = []
    for killed in (False, True):
        with Database(tmp_path / f"{killed}.db") as database:
            memory = opened(database, capacity_mb=0.2)
            memory.add(past)
            memory.settle(np.random.default_rng(0))
            if killed:
                memory.add(fresh[:7])
                memory.forget_after(0)
            memory.add(fresh)
            memory.settle(np.random.default_rng(1))
            left.append(memory.ids())
    assert left[0] == left[1]


def test_a_store_of_version_1_is_measured_when_it_is_opened(tmp_path, rng):
    with Database(tmp_path / "old.db") as database:
        memory = opened(database)
        memory.add([episode("a", rng), noisy("b", rng), episode("c", rng, steps=())])
        measured = database.execute("SELECT bytes FROM episodes ORDER BY number").fetchall()
        database.execute("UPDATE episodes SET bytes = 0")
        database.execute(
            next(sql for sql in map(str, MIGRATIONS[1]) if sql.strip().startswith("UPDATE episodes SET bytes"))
        )
        assert database.execute("SELECT bytes FROM episodes ORDER BY number").fetchall() == measured
        vectors = 2 * 32 * memory.stats().steps
        pictures = database.execute("SELECT sum(length(data)) FROM picture_data").fetchone()[0]
        assert sum(n for (n,) in measured) + vectors + pictures == held(database)
