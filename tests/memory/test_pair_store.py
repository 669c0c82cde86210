"""Pairs stay as long as an episode they come from, and no more of them than there is room for."""

from dataclasses import replace

import numpy as np
import pytest

from envs.types import Observation
from memory import pairs as pairs_module
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.judgements import Judgement
from memory.preferences import PreferencePair
from memory.store import MemorySettings, ReplayMemory
from tests.memory.making import action, assert_consistent, bits, episode, picture


def pair(number, rng, *episodes, task="goto", cycle=0):
    seen = Observation(f"<image>which, {number}?", (picture(rng),))
    return PreferencePair(seen, None, action("x"), action("y"), 1.0 + number, "r", None, task, cycle, episodes)


def opened(database, **settings):
    return ReplayMemory(database, HashEmbedder(32), MemorySettings(**settings))


def margins(memory, **more):
    """1 + the numbers of the pairs that are there."""
    return [int(one.margin) - 1 for one in memory.pairs(**more)]


def test_a_pair_goes_with_the_last_episode_it_comes_from(database, rng):
    """Reservoir of 2: which two of a..d stay is asked of memory; the pair of any that stayed stays."""
    memory = opened(database, capacity=2, retention={"type": "reservoir"})
    memory.add([episode(name, rng, cycle=1) for name in "abcd"])
    of = [("a", "b"), ("c", "d"), ("a", "c"), ("b", "d"), ("a", "d"), ("b", "c"), ("a",), ()]
    memory.add_pairs([pair(i, rng, *names, cycle=1) for i, names in enumerate(of)])
    memory.settle(rng)
    stay = set(memory.ids())
    assert len(stay) == 2
    assert margins(memory) == [i for i, names in enumerate(of) if not names or stay & set(names)]
    assert 0 < len(margins(memory)) < len(of)
    assert_consistent(database, memory)
    memory.forget_after(0)
    assert margins(memory) == []
    assert_consistent(database, memory)


def test_pairs_of_other_cycles_are_left_alone(database, rng):
    memory = opened(database, capacity=1)
    memory.add([episode("a", rng, cycle=1, success=False), episode("b", rng, cycle=2)])
    memory.add_pairs([pair(0, rng, "a", cycle=1), pair(1, rng, "b", cycle=2)])
    memory.settle(rng)
    assert margins(memory) == [{"a": 0, "b": 1}[name] for name in memory.ids()]


def test_what_an_older_version_left_behind_goes_when_something_goes_next(database, rng):
    """Its episode went in a cycle that is over; later cycles, and pairs that say no episode, are left alone."""
    memory = opened(database, capacity=1)
    memory.add([episode(name, rng, cycle=2) for name in "ab"])
    memory.add_pairs([pair(i, rng, *names, cycle=i) for i, names in enumerate([("gone",), (), ("gone",), ("gone",)])])
    memory.add_judgements([Judgement(bytes([i] * 16), "j", "goto", i, ("gone",), 1.0) for i in range(4)])
    memory.settle(rng)
    assert margins(memory) == [1, 3]
    assert list(memory.judged([bytes([i] * 16) for i in range(4)])) == [bytes([3] * 16)]
    assert_consistent(database, memory)


def test_the_capacity_keeps_a_uniform_sample_whatever_came_when(tmp_path, rng):
    """12 of 40, at once or in four parts, or first 25 and then 12; pictures of what goes go too."""
    made = [pair(i, rng, cycle=i // 10) for i in range(40)]
    left = []
    for way, parts, capacities in ((0, 1, (12,)), (1, 4, (12,)), (2, 1, (25, 12))):
        with Database(tmp_path / f"{way}.db") as database:
            for capacity in capacities:
                memory = opened(database, pair_capacity=capacity)
                for part in range(parts):
                    memory.add_pairs(made[40 * part // parts : 40 * (part + 1) // parts])
                    memory.settle(rng)
            left.append(margins(memory))
            assert_consistent(database, memory)
            assert memory.settle(rng) == 0
            assert margins(memory) == left[-1]
    assert left[0] == left[1] == left[2]
    assert len(left[0]) == 12
    assert left[0] not in (list(range(12)), list(range(28, 40)))


def test_other_seeds_keep_other_pairs_and_all_are_kept_alike(tmp_path, rng):
    """Of 10 pairs 5 stay, under 30 seeds: each is expected 15 times, with a deviation of 2.7."""
    made = [pair(i, rng) for i in range(10)]
    counts = np.zeros(10, int)
    for seed in range(30):
        with Database(tmp_path / f"{seed}.db") as database:
            memory = opened(database, pair_capacity=5, seed=seed)
            memory.add_pairs(made)
            memory.settle(rng)
            counts[margins(memory)] += 1
    assert counts.sum() == 150
    assert 4 < counts.min() <= counts.max() < 26


def test_draws_are_those_of_reading_all_and_only_they_are_read(database, rng, monkeypatch):
    memory = opened(database)
    made = [pair(i, rng, task="ab"[i % 2], cycle=i // 10) for i in range(30)]
    memory.add_pairs(made)
    read = []
    inner = pairs_module.Pairs.read
    monkeypatch.setattr(pairs_module.Pairs, "read", lambda self, some: (read.extend(some), inner(self, some))[1])
    there = [one for one in made if one.cycle < 2 and one.task == "a"]
    assert len(there) == 10
    chosen = sorted(np.random.default_rng(7).choice(10, 4, replace=False).tolist())
    drawn = memory.draw_pairs(4, np.random.default_rng(7), 2, ["a"])
    assert bits(drawn) == bits([there[i] for i in chosen])
    assert len(read) == 4
    assert bits(memory.draw_pairs(10, rng, 2, ["a"])) == bits(there)  # all there are: nothing is left to chance
    assert bits(memory.draw_pairs(99, rng, 2)) == bits(made[:20])
    assert memory.draw_pairs(9, rng, 2, ["nobody"]) == []
    assert memory.draw_pairs(0, rng, 2) == []


def test_all_are_read_page_by_page(database, rng, monkeypatch):
    monkeypatch.setattr(pairs_module, "_PAGE", 3)
    memory = opened(database)
    made = [pair(i, rng) for i in range(8)]
    memory.add_pairs(made)
    inner = pairs_module.Pairs.read
    pages = []
    monkeypatch.setattr(pairs_module.Pairs, "read", lambda self, some: (pages.append(len(some)), inner(self, some))[1])
    first = next(memory.pairs())
    assert pages == [3]
    assert bits(first) == bits(made[0])
    assert bits(list(memory.pairs())) == bits(made)
    assert pages == [3, 3, 3, 2]


def test_pictures_of_pairs_over_capacity_make_room_for_episodes(database, rng):
    """Pairs alone fill 0.1 MB: with 100 of them no episode stays, with 2 all do."""
    shown = lambda: (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),)  # noqa: E731
    made = [replace(pair(i, rng), observation=Observation("<image>", shown())) for i in range(100)]
    for capacity, stay in ((2, 3), (100, 0)):
        memory = opened(database, capacity_mb=0.1, pair_capacity=capacity)
        memory.add([episode(f"{capacity}.{i}", rng) for i in range(3 - memory.stats().episodes)])
        memory.add_pairs(made)
        memory.settle(rng)
        assert memory.stats().episodes == stay
    assert_consistent(database, memory)


@pytest.mark.parametrize("capacity", [0, -1])
def test_no_room_at_all_is_refused(capacity):
    with pytest.raises(ValueError, match="pair_capacity"):
        MemorySettings(pair_capacity=capacity)
