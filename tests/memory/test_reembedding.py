"""Vectors made anew: all of them or none, whenever it is stopped, and the old ones hold until the switch."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.component import UserError
from memory import reembedding
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.reembedding import Reembedding
from memory.store import MemorySettings, ReplayMemory
from memory.vectors import Vectors
from tests.memory.making import assert_consistent
from tests.memory.test_faults import ROOT, Crash, crash_at, made  # noqa: F401 - crash_at is a fixture

OLD, NEW = HashEmbedder(32), HashEmbedder(48)
CHILD = """
import sys
import time
from tests.memory.test_reembedding import Database, NEW, Reembedding, reembedding
reembedding.BATCH_STEPS = 4
for done, total in Reembedding(Database(sys.argv[1]), NEW).work():
    print(done, flush=True)
    time.sleep(0.02)
"""


def opened(path, embedder, capacity=1000):
    database = Database(path)
    try:
        return database, ReplayMemory(database, embedder, MemorySettings(capacity=capacity))
    except UserError:
        database.close()
        raise


def filled(path, count):
    database, memory = opened(path, OLD)
    memory.add([made(i) for i in range(count)])
    memory.search(np.ones(32), 1)
    memory.save_index(always=True)
    database.close()


def anew(path, embedder=NEW):
    """Done and total, as they were told."""
    with Database(path) as database:
        work = Reembedding(database, embedder)
        told = list(work.work())
        work.switch()
    return told


def assert_of(path, embedder):
    """The store has this embedder's vectors and nothing of any other."""
    database, memory = opened(path, embedder)
    assert_consistent(database, memory, embedder.dimension)
    assert database.execute("SELECT version FROM embedders").fetchall() == [(embedder.version,)]
    there = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'vectors%' ORDER BY 1").fetchall()
    assert there == [("vectors",)]
    for name in memory.ids():
        step = memory.get([name])[0].steps[0]
        found, place, cosine = memory.search(step.observation, 1)[0]
        assert (found, place) == (name, 0)
        assert cosine == pytest.approx(1, abs=1e-5)
    database.close()


def test_another_embedder_is_refused_until_its_vectors_are_there(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    filled(path, 9)
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 5)
    with pytest.raises(UserError, match=f"holds vectors of hash-1/32: .* anew: holdtrue memory embed --dir {tmp_path}"):
        opened(path, NEW)
    told = anew(path)  # episodes of 1, 2, 3, 4, 1, ... steps: batches of 1+2, 3, 4+1, 2+3, 4+1
    assert told == [(0, 9), (2, 9), (3, 9), (5, 9), (7, 9), (9, 9)]
    assert_of(path, NEW)
    with pytest.raises(UserError, match="holds vectors of hash-1/48"):
        opened(path, OLD)


def test_an_episode_longer_than_a_batch_and_one_without_steps(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    filled(path, 4)
    database, memory = opened(path, OLD)
    memory.add([made(7).__class__(**{n: getattr(made(7), n) for n in made(7).__dataclass_fields__} | {"steps": ()})])
    database.close()
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 1)
    assert anew(path)[-1] == (5, 5)
    database, memory = opened(path, NEW)
    assert_consistent(database, memory, 48)
    database.close()


def test_the_index_of_the_old_vectors_is_not_believed(tmp_path, monkeypatch):
    """Of one dimension, so that only the version tells them apart."""
    path = tmp_path / "run.db"
    filled(path, 6)
    other = HashEmbedder(32)
    other.version = "another"
    other.embed = lambda seen: -OLD.embed(seen)  # type: ignore[method-assign]
    rebuilds = []
    inner = Vectors.rebuild
    monkeypatch.setattr(Vectors, "rebuild", lambda self: (rebuilds.append(1), inner(self)))
    anew(path, other)
    assert_of(path, other)
    assert len(rebuilds) == 1
    database, memory = opened(path, other)
    memory.search(np.ones(32), 1)
    memory.save_index(always=True)
    database.close()
    assert_of(path, other)
    assert len(rebuilds) == 2, "once written, the new index is used"


def test_meanwhile_the_old_vectors_hold_and_episodes_come_and_go(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    filled(path, 12)
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 4)
    with Database(path) as database:
        steps = Reembedding(database, NEW).work()
        assert [next(steps) for _ in range(4)][-1][0] >= 3
    database, memory = opened(path, OLD, capacity=9)
    assert_consistent(database, memory)
    assert memory.settle(np.random.default_rng(0)) == 3
    memory.add([made(40)])
    left = set(memory.ids())
    begun = database.execute("SELECT id FROM episodes JOIN vectors_new ON number = episode").fetchall()
    assert len(begun) == database.execute("SELECT count(*) FROM vectors_new").fetchone()[0], "of the evicted, nothing"
    database.close()
    told = anew(path)
    assert told[0] == (len(begun), 10)
    assert_of(path, NEW)
    database, memory = opened(path, NEW)
    assert set(memory.ids()) == left
    database.close()


def test_what_was_begun_with_a_third_embedder_is_thrown_away(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    filled(path, 8)
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 4)
    with Database(path) as database:
        steps = Reembedding(database, HashEmbedder(64)).work()
        next(steps), next(steps)
    assert anew(path)[0] == (0, 8)
    assert_of(path, NEW)


def test_going_back_to_the_old_embedder_leaves_nothing_behind(tmp_path):
    path = tmp_path / "run.db"
    filled(path, 3)
    with Database(path) as database:
        list(Reembedding(database, NEW).work())
    with Database(path) as database:
        back = Reembedding(database, OLD)
        assert not back.needed
        back.switch()
    assert_of(path, OLD)


def test_no_switch_before_all_is_done(tmp_path, monkeypatch):
    path = tmp_path / "run.db"
    filled(path, 5)
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 1)
    with Database(path) as database:
        work = Reembedding(database, NEW)
        with pytest.raises(RuntimeError, match="finish `work` before"):
            work.switch()
        steps = work.work()
        next(steps), next(steps)
        with pytest.raises(RuntimeError, match="finish `work` before"):
            work.switch()
    assert_of_old(path)


def assert_of_old(path):
    database, memory = opened(path, OLD)
    assert_consistent(database, memory)
    database.close()


@pytest.mark.parametrize("bad", [np.zeros((1, 48), np.float32), np.full((2, 48), np.nan, np.float32)])
def test_vectors_that_are_none_are_not_stored(tmp_path, bad):
    path = tmp_path / "run.db"
    filled(path, 2)
    wrong = HashEmbedder(48)
    wrong.embed = lambda seen: bad  # type: ignore[method-assign]
    with Database(path) as database, pytest.raises(ValueError, match=r"hash-1/48: vectors must be finite \[3, 48\]"):
        list(Reembedding(database, wrong).work())
    assert_of_old(path)


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path):
    path = tmp_path / "run.db"
    filled(path, 40)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 10:
            os.kill(child.pid, signal.SIGKILL)
            break
    rest, _ = child.communicate(timeout=30)
    acknowledged = int(([line, *rest.splitlines(keepends=True)])[-1])
    assert 10 <= acknowledged < 40, "it was killed in the middle"
    assert_of_old(path)
    assert anew(path)[0][0] >= acknowledged
    assert_of(path, NEW)


def test_a_failure_at_every_single_statement(tmp_path, crash_at, monkeypatch):  # noqa: F811
    """In the process that goes on and in the next: old or new, never both, and done in the end."""
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 3)

    def life(database):
        work = Reembedding(database, NEW)
        for _ in work.work():
            pass
        work.switch()

    filled(tmp_path / "run.db", 3)
    for n in range(1, 200):
        path = Path(tmp_path / f"{n}.db")
        for beside in ("", ".index"):
            shutil.copy(tmp_path / f"run.db{beside}", f"{path}{beside}")
        with Database(path) as database:
            crash_at(n)
            try:
                life(database)
                break
            except Crash:
                crash_at(0)
                assert not database.in_transaction
        assert_of_old(path)
        with Database(path) as database:
            life(database)
        assert_of(path, NEW)
    crash_at(0)
    assert_of(path, NEW)
    assert n > 20
