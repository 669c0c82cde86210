"""Killed at any moment: every acknowledged episode is there, none is there by half, and the index equals the truth."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from envs.component import UserError
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import MemorySettings, ReplayMemory
from tests.memory.making import assert_consistent, bits, episode

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from tests.memory.test_faults import made, opened
database, memory = opened(Path(sys.argv[1]))
number = int(sys.argv[2])
print("ready", flush=True)
while True:
    batch = [made(number + i) for i in range(3)]
    memory.add(batch)
    print(number, number + 1, number + 2, flush=True)
    number += 3
    if number % 9 == 0:
        memory.search(batch[0].steps[0].observation, 1)
        memory.save_index()
"""


def made(number):
    """The same number, the same episode."""
    return episode(f"e{number}", np.random.default_rng(number), length=1 + number % 4)


def opened(path, capacity=10_000):
    database = Database(path)
    return database, ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=capacity))


def run_and_kill(path: Path, start: int, after: float) -> list[int]:
    """Numbers that a child said it had stored before it was killed, `after` seconds into storing."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(start)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(after)
    os.kill(child.pid, signal.SIGKILL)
    said, _ = child.communicate(timeout=30)
    lines = [line for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [int(word) for line in lines for word in line.split()]


def assert_survived(path: Path, acknowledged: list[int]) -> None:
    database, memory = opened(path)
    there = memory.ids()
    assert {f"e{n}" for n in acknowledged} <= set(there)
    for name, read in zip(there, memory.get(there), strict=True):
        assert bits(read) == bits(made(int(name[1:])))
    assert_consistent(database, memory)
    database.close()


def assert_survives_kills(path: Path, kills: int, rng: np.random.Generator) -> None:
    acknowledged: list[int] = []
    for kill in range(kills):
        acknowledged += run_and_kill(path, 9000 * kill, float(rng.uniform(0, 0.15)))
        assert_survived(path, acknowledged)
    assert acknowledged


def test_killed_in_mid_insert(tmp_path):
    assert_survives_kills(tmp_path / "run.db", kills=4, rng=np.random.default_rng(0))


@pytest.mark.soak
def test_killed_five_hundred_times(tmp_path):
    for run in range(25):
        assert_survives_kills(tmp_path / f"{run}.db", kills=20, rng=np.random.default_rng(run))


class Crash(Exception):
    """Stands for a process that ends here."""


@pytest.fixture
def crash_at(monkeypatch):
    """`crash_at(n)` makes the n-th statement fail and says afterwards whether it came to that."""
    left = [0]

    def guarded(name):
        inner = getattr(Database, name)

        def call(self, *arguments):
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            return inner(self, *arguments)

        monkeypatch.setattr(Database, name, call)

    guarded("execute")
    guarded("executemany")

    def arm(n):
        left[0] = n

    return arm


@pytest.mark.parametrize("work", ["add", "settle", "forget", "save"])
def test_a_failure_at_every_single_statement(tmp_path, crash_at, work):
    def life(memory):
        if work == "add":
            memory.add([made(100), made(101)])
        elif work == "settle":
            memory.settle(np.random.default_rng(0))
        elif work == "forget":
            memory.forget_after(-1)
        else:
            memory.search(np.ones(32), 1)
            memory.save_index(always=True)

    for n in range(1, 200):
        path = tmp_path / f"{n}.db"
        database, memory = opened(path, capacity=3)
        memory.add([made(i) for i in range(5)])
        crash_at(n)
        try:
            life(memory)
            done = True
        except Crash:
            done = False
        crash_at(0)
        assert_consistent(database, memory)  # in the process that goes on
        database.close()
        database, memory = opened(path, capacity=3)
        assert_consistent(database, memory)  # and in the next
        life(memory)
        assert_consistent(database, memory)
        database.close()
        if done:
            break
    assert done
    assert n > 4


def test_full_disk_keeps_what_was_acknowledged(tmp_path):
    database, memory = opened(tmp_path / "run.db")
    memory.add([made(0)])
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 10}")
    stored = 1
    with pytest.raises(UserError, match="the disk is full"):  # noqa: PT012 - some add of many fails
        for stored in range(1, 10_000):
            memory.add([made(stored)])
    assert memory.ids() == [f"e{n}" for n in range(stored)]
    assert bits(memory.get(memory.ids())) == bits([made(n) for n in range(stored)])
    assert_consistent(database, memory)
    database.execute("PRAGMA max_page_count = 1000000")
    memory.add([made(stored)])
    assert_consistent(database, memory)
    database.close()


def test_an_index_that_cannot_be_written_loses_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    database, memory = opened(tmp_path / "run.db")
    memory.add([made(0), made(1)])
    memory.search(np.ones(32), 1)
    memory.save_index(always=True)
    before = (tmp_path / "run.db.index").read_bytes()
    memory.add([made(2)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(UserError, match="No space left on device"):
            memory.save_index(always=True)
    assert (tmp_path / "run.db.index").read_bytes() == before
    assert not (tmp_path / "run.db.index.tmp").exists()
    assert_consistent(database, memory)
    database.close()
