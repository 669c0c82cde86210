"""How new an observation is: by hand, against brute force, and where there is nothing to compare with."""

import numpy as np
import pytest

from envs.types import Observation
from memory import novelty as bounded
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index import FaissIndex
from memory.store import MemorySettings, ReplayMemory
from memory.unit_vectors import pack_vectors, unit, unpack_vectors
from tests.memory.angles import Angles, novelty, of
from tests.memory.making import episode, step

ROUNDING = 2e-4
"""Vectors are stored as float16."""


@pytest.fixture
def memory(tmp_path):
    with Database(tmp_path / "run.db") as database:
        yield ReplayMemory(database, Angles())


def test_by_hand(memory):
    """0, 60 and 180 degrees are remembered. From 0: cosines 1, 1/2, -1, so distances 0, 1/2, 2."""
    memory.add([of("a", 0, 60), of("b", 180)])
    np.testing.assert_allclose(novelty(memory, 0, k=1), [0], atol=ROUNDING)
    np.testing.assert_allclose(novelty(memory, 0, k=2), [0.25], atol=ROUNDING)
    np.testing.assert_allclose(novelty(memory, 0, 90, k=3), [2.5 / 3, (1 + 1 - 3**0.5 / 2 + 1) / 3], atol=ROUNDING)
    np.testing.assert_allclose(novelty(memory, 0, k=50), [2.5 / 3], atol=ROUNDING)  # all there are


def test_what_is_compared_with_nothing_is_as_new_as_can_be(memory):
    np.testing.assert_array_equal(novelty(memory, 0, 10), [2, 2])
    memory.add([of("a", 0, cycle=3), of("empty", cycle=1)])
    np.testing.assert_array_equal(novelty(memory, 0, before_cycle=3), [2])
    np.testing.assert_array_equal(novelty(memory, 0, tasks=["other"]), [2])
    np.testing.assert_array_equal(novelty(memory, 0, before_cycle=4), [0])
    assert novelty(memory).shape == (0,)
    with pytest.raises(ValueError, match="k is 0"):
        novelty(memory, 0, k=0)


def test_of_some_tasks_and_cycles_only(memory):
    memory.add([of("a", 0, task="x", cycle=0), of("b", 60, task="y", cycle=1), of("c", 90, task="x", cycle=2)])
    cosines = np.cos(np.radians([0, 60, 90]))
    for tasks, before, kept in [(["x"], None, [0, 2]), (["y"], None, [1]), (["x", "y"], 2, [0, 1]), (["x"], 1, [0])]:
        expected = np.mean(1 - cosines[kept])
        np.testing.assert_allclose(novelty(memory, 0, k=3, tasks=tasks, before_cycle=before), [expected], atol=ROUNDING)


def test_against_brute_force_before_and_after_evictions(memory):
    """Few of many count, so that the search has to look further than k."""
    rng = np.random.default_rng(0)
    made = [
        of(f"{i}", *rng.uniform(0, 360, 3), task="rare" if i % 20 == 0 else "often", cycle=i // 50) for i in range(100)
    ]
    memory.add(made)
    for gone in (None, 0):
        if gone is not None:
            memory.forget_after(gone)
        kept = [e for e in made if e.task == "rare" and (gone is None or e.cycle <= gone)]
        queries = rng.uniform(0, 360, 7)
        made_of = Angles().embed([s.observation for e in kept for s in e.steps])
        stored = unit(unpack_vectors(pack_vectors(made_of), 2))
        near = unit(Angles().embed([Observation(str(q)) for q in queries])) @ stored.T
        expected = 1 - np.sort(near, axis=1)[:, ::-1][:, :4].mean(axis=1)
        np.testing.assert_allclose(novelty(memory, *queries, k=4, tasks=["rare"]), expected, atol=1e-6)


def test_a_world_that_drifts_is_newer(tmp_path):
    """The control: more of the same is as near as what is remembered is to itself; other pictures and words are not."""
    with Database(tmp_path / "run.db") as database:
        memory = ReplayMemory(database, HashEmbedder(64))
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 9, (40, 8, 8, 3), np.uint8)
        bright = [Observation("go on", (200 + some,)) for some in noise]
        memory.add([episode(f"{i}", rng, steps=(step(o),)) for i, o in enumerate(bright[:20])])
        dark = [Observation("go on", (255 - o.images[0],)) for o in bright[20:]]
        told = [Observation("do what you like", o.images) for o in bright[20:]]
        same, drifted, reworded = (memory.novelty(seen, k=5) for seen in (bright[20:], dark, told))
    assert same.max() < 0.01 < 0.3 < min(drifted.min(), reworded.min())


def lives_on(memory, rng, numbers, cycle, task="goto"):
    """Three steps an episode; what novelty says of each before it is remembered."""
    told = []
    for number in numbers:
        degrees = rng.uniform(0, 360, 3)
        told.append(novelty(memory, *degrees, tasks=["goto", "other"], before_cycle=cycle).tolist())
        memory.add([of(f"{task}{cycle}/{number}", *degrees, task=task, cycle=cycle)])
    return told


@pytest.fixture
def effort(monkeypatch):
    """Vectors compared with queries, and SQLite's operations: of an episode, by the number of those remembered."""
    spent = {"compared": 0, "operations": 0}
    search = FaissIndex.search

    def counted(self, queries, k):
        spent["compared"] += len(queries) * len(self)
        return search(self, queries, k)

    def operation():
        spent["operations"] += 1

    monkeypatch.setattr(FaissIndex, "search", counted)

    def of_an_episode(memory, rng, name, cycle):
        before = dict(spent)
        memory._database._connection.set_progress_handler(operation, 1)
        lives_on(memory, rng, [name], cycle)
        memory._database._connection.set_progress_handler(None, 1)
        return {what: spent[what] - before[what] for what in spent}

    return of_an_episode


@pytest.mark.parametrize("remembered", [0, 15])
def test_an_episode_costs_the_same_however_much_was_lived(memory, monkeypatch, effort, remembered):
    """Room for 60 steps, so for 20 episodes: 15 of an earlier cycle are 45, and each of 3 steps is compared with these.

    What is lived meanwhile is nothing to compare with: 400 episodes more of it change no count. An earlier cycle of
    400 episodes is compared with as 60.
    """
    monkeypatch.setattr(bounded, "MOST", 60)
    rng = np.random.default_rng(0)
    lives_on(memory, rng, range(remembered), 0)
    lives_on(memory, rng, range(20), 1)
    first = effort(memory, rng, "first", 1)
    assert first["compared"] == 3 * 3 * remembered
    lives_on(memory, rng, range(20, 420), 1)
    last = effort(memory, rng, "last", 1)
    assert last["compared"] == first["compared"]
    assert last["operations"] <= 1.05 * first["operations"]
    lives_on(memory, rng, ["reads"], 2)
    assert effort(memory, rng, "later", 2)["compared"] == 3 * 60


def test_a_part_that_stands_for_all_is_the_same_whoever_reads_it(tmp_path, monkeypatch):
    """Room for 60 steps, and for 50 episodes in memory: reopened every 20, novelty goes on to the last bit.

    The control: without a bound it is another.
    """

    def told(name, reopened):
        rng, found = np.random.default_rng(0), []
        database = Database(tmp_path / name)
        for part in range(12):
            if reopened:
                database.close()
                database = Database(tmp_path / name)
            if reopened or part == 0:
                memory = ReplayMemory(database, Angles(), MemorySettings(capacity=50))
            cycle = part // 3
            found += lives_on(memory, rng, range(20 * part, 20 * part + 20), cycle, ["goto", "other"][cycle % 2])
            memory.settle(np.random.default_rng(part))
        database.close()
        return found

    monkeypatch.setattr(bounded, "MOST", 60)
    once = told("once", False)
    assert told("often", True) == once
    monkeypatch.setattr(bounded, "MOST", 10**6)
    assert told("all", False) != once


def test_steps_of_a_long_episode_are_spread_evenly(memory, monkeypatch):
    """Of 0, 10 .. 90 degrees four stand for all: the first, the last and two between: 0, 30, 60, 90."""
    monkeypatch.setattr(bounded, "MOST", 4)
    monkeypatch.setattr(bounded, "EACH", 4)
    memory.add([of("a", *range(0, 100, 10))])
    near = novelty(memory, *range(0, 100, 10), k=1)
    np.testing.assert_array_equal(np.flatnonzero(near < ROUNDING), [0, 3, 6, 9])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, [1, 0, 0, 0]),
        ({"tasks": ["goto"]}, [1, 0, 0, 0]),
        ({"before_cycle": 3}, [1, 1, 0, 0]),
        ({"tasks": ["goto"], "before_cycle": 3}, [1, 1, 1, 0]),
    ],
)
def test_what_came_since_the_last_look_is_compared_with(memory, asked, told):
    """90 degrees come in a later cycle, then of another task, then of this one: 1 away, or 0 once it fits."""
    memory.add([of("a", 0)])
    found = [novelty(memory, 90, k=1, **asked)[0]]
    for name, task, cycle in [("later", "goto", 3), ("other", "other", 2), ("earlier", "goto", 2)]:
        memory.add([of(name, 90, task=task, cycle=cycle)])
        found.append(novelty(memory, 90, k=1, **asked)[0])
    np.testing.assert_allclose(found, told, atol=ROUNDING)


def test_what_was_undone_is_not_compared_with(memory):
    memory.add([of("a", 0)])

    def undone():
        with memory._database.transaction():
            memory.add([of("b", 90)])
            np.testing.assert_allclose(novelty(memory, 90, k=1), [0], atol=ROUNDING)
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        undone()
    np.testing.assert_allclose(novelty(memory, 90, k=1), [1], atol=ROUNDING)
