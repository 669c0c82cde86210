"""How new an observation is: by hand, against brute force, and where there is nothing to compare with."""

import numpy as np
import pytest

from envs.types import Observation
from memory import novelty as bounded
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index import FaissIndex
from memory.novelty import thinned
from memory.store import MemorySettings, ReplayMemory
from memory.unit_vectors import pack_vectors, unit, unpack_vectors
from tests.memory.making import episode, step

ROUNDING = 2e-4
"""Vectors are stored as float16."""


class Angles:
    """A text that is a number of degrees, as a vector of two numbers; its length says nothing."""

    version, dimension = "angles", 2

    def embed(self, observations):
        radians = np.radians([float(o.text) for o in observations])
        return np.stack([3 * np.cos(radians), 3 * np.sin(radians)], axis=1).astype(np.float32)


def of(name, *degrees, **changes):
    steps = tuple(step(Observation(str(d))) for d in degrees)
    return episode(name, np.random.default_rng(0), **{"steps": steps, "success": True, **changes})


def novelty(memory, *degrees, **more):
    out = memory.novelty([Observation(str(d)) for d in degrees], **more)
    assert out.dtype == np.float32
    return out


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


def test_what_stands_for_all_by_hand(monkeypatch):
    """Room for 10 of 16 steps, 4 of an episode at most; the best of each task come first, then the second.

    Task 7: priorities .9 (3 steps), .2 (2); task 2: .5 (9 steps, so 4), .1 (2). In turn: .9 and .5, then .2 and .1:
    with 3 + 4 + 2 = 9 steps the room is full, another 2 do not fit.
    """
    monkeypatch.setattr(bounded, "MOST", 10)
    monkeypatch.setattr(bounded, "EACH", 4)
    task, priority, length = np.array([2, 7, 7, 2]), np.array([0.1, 0.2, 0.9, 0.5]), np.array([2, 2, 3, 9])
    places, counts = thinned(task, priority, length)
    assert (places.tolist(), counts.tolist()) == ([1, 2, 3], [2, 3, 4])
    renumbered, _ = thinned(np.array([7, 2, 2, 7]), priority, length)
    assert renumbered.tolist() == places.tolist(), "how tasks are numbered depends on which came first"
    monkeypatch.setattr(bounded, "MOST", 16)
    places, counts = thinned(task, priority, length)
    assert (places.tolist(), counts.tolist()) == ([0, 1, 2, 3], [2, 2, 3, 9]), "all there are"


def counted(length):
    """How many steps stand for each of so many episodes of one task, in order of arrival; 0 for one left out."""
    length = np.array(length)
    places, counts = thinned(np.zeros(len(length), np.int64), np.random.default_rng(0).random(len(length)), length)
    found = np.zeros(len(length), np.int64)
    found[places] = counts
    return found


def test_the_room_is_used_by_hand():
    """Room for 4096: 40 episodes of 100 steps fit; of 41 each gives 99 (41 * 99 = 4059, but 41 * 100 = 4100).

    Short ones are whole: beside 20 of 5 steps, 9 of 500 give 444 each (100 + 9 * 444 = 4096). Of 128 of 100 steps each
    gives 32 (128 * 32 = 4096), and of 129 one is left out.
    """
    assert counted([100] * 40).tolist() == [100] * 40
    assert counted([100] * 41).tolist() == [99] * 41
    assert counted([5] * 20 + [500] * 9).tolist() == [5] * 20 + [444] * 9
    assert counted([100] * 128).tolist() == [32] * 128
    assert sorted(counted([100] * 129).tolist()) == [0] + [32] * 128


@pytest.mark.parametrize("lengths", [[20], [33], [100], [500], [1000], [5000], [5, 900], range(1, 300, 7)])
def test_an_episode_more_leaves_the_room_used(lengths):
    """Up to 4096 steps all are there. Beyond, those that are cut give the same, and one more of each did not fit.

    With 32 or more each these are 128 at the most: less than 128 steps stay free, so it never shrinks by as much.
    """
    most, each, before = bounded.MOST, bounded.EACH, 0
    length = np.resize(np.array(lengths), 300)
    for lived in (length[:n] for n in range(1, 301)):
        part = counted(lived)
        assert min(lived.sum(), most - 127) <= part.sum() <= most
        assert part.sum() > before - 128
        before = part.sum()
        cut = set(part[part < lived].tolist())
        if np.minimum(lived, each).sum() <= most:
            assert len(cut) <= 1
            assert min(cut, default=each) >= each
        else:
            assert cut <= {0, each}


class Directions:
    """A text that is a number, as a direction of its own in six dimensions."""

    version, dimension = "directions", 6

    def embed(self, observations):
        return np.stack([np.random.default_rng(int(o.text)).normal(size=6) for o in observations]).astype(np.float32)


def test_an_episode_past_the_bound_hardly_moves_novelty(tmp_path, monkeypatch):
    """Eight episodes of 500 steps fit, a ninth does not: 9 * 455 = 4095 steps are compared with after 4000.

    The control: compared with 9 * 32 = 288 steps, all is newer by far.
    """
    with Database(tmp_path / "run.db") as database:
        memory = ReplayMemory(database, Directions())
        made = [of(str(i), *range(500 * i, 500 * i + 500)) for i in range(9)]
        memory.add(made[:8])
        seen = range(10_000, 10_200)
        before = novelty(memory, *seen).mean()
        memory.add(made[8:])
        assert novelty(memory, *seen).mean() == pytest.approx(before, rel=0.02)
        monkeypatch.setattr(bounded, "MOST", 288)
        memory.add([of("last", 20_000)])
        assert novelty(memory, *seen).mean() > 2 * before


@pytest.mark.parametrize(
    ("retention", "stays"), [("balanced", True), ("reservoir", True), ("rewarded", False), ("coverage", False)]
)
def test_what_an_eviction_leaves_of_the_part(tmp_path, monkeypatch, retention, stays):
    """Room for 20 of 200 episodes, every other one rewarded, of which 100 stay: the 20 best by priority do."""
    monkeypatch.setattr(bounded, "MOST", 60)
    rng = np.random.default_rng(0)
    with Database(tmp_path / "run.db") as database:
        memory = ReplayMemory(database, Angles(), MemorySettings(capacity=100, retention={"type": retention}))
        for i in range(200):
            seen = [Observation(str(degrees)) for degrees in rng.uniform(0, 360, 3)]
            won = i % 2 == 0
            memory.add([of(str(i), steps=tuple(step(o, reward=float(won)) for o in seen), success=won)])
        before = novelty(memory, *range(0, 360, 5), k=1)
        memory.settle(rng)
        assert memory.stats().episodes == 100
        assert np.array_equal(novelty(memory, *range(0, 360, 5), k=1), before) is stays


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
