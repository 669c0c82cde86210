"""What stands for all where there is more than is compared with: by hand, as a property, and after evictions."""

import numpy as np
import pytest

from envs.types import Observation
from memory import novelty as bounded
from memory.database import Database
from memory.novelty import thinned
from memory.store import MemorySettings, ReplayMemory
from tests.memory.angles import Angles, novelty, of
from tests.memory.making import step


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
