"""Every retention and recall module keeps its contract; and what each is for, by hand."""

import doctest

import numpy as np
import pytest
from pydantic import ValidationError

import memory.retention.balanced as balanced_module
from envs.component import UserError, load, names
from envs.types import Observation
from memory.catalogue import View
from memory.retention import guarded

# What modules need beside their type; a new module without needs is tested the moment it exists.
NEEDS: dict[str, dict[str, object]] = {}


def retention(name, **settings):
    return load("memory.retention", {"type": name, **settings}, "retention").build()


def recall(name, **settings):
    return load("memory.recall", {"type": name, **settings}, "recall").build()


def view(strata, length=None, seen=None, priority=None, near=None):
    """Episodes numbered from 10; `near` is the order in which they resemble any query."""
    n = len(strata)
    rng = np.random.default_rng(0)

    def vectors_of(numbers):
        return np.stack([np.full(4, number, np.float32) for number in numbers])

    def nearest(some, observations, count):
        order = np.array(
            [np.flatnonzero(some.numbers == x)[0] for x in (near or range(10, 10 + n)) if x in some.numbers]
        )
        return some.first(order.astype(int), count)

    return View(
        numbers=np.arange(10, 10 + n),
        strata=np.array(strata, np.int64),
        success=np.array(strata) % 2 == 1,
        cycle=np.zeros(n, np.int64),
        length=np.array(length if length is not None else [1] * n, np.int64),
        gain=rng.normal(size=n),
        priority=rng.random(n) if priority is None else np.array(priority),
        seen=np.array(seen if seen is not None else [0] * n, np.int64),
        uses=np.zeros(n, np.int64),
        vectors_of=vectors_of,
        nearest_in=nearest,
    )


@pytest.mark.parametrize("name", names("memory.retention"))
def test_retention_contract(name):
    strategy = retention(name, **NEEDS.get(name, {}))
    rng = np.random.default_rng(1)
    for _ in range(60):
        shown = view(rng.integers(0, rng.integers(1, 8), rng.integers(2, 40)))
        capacity = int(rng.integers(1, len(shown)))
        seed = int(rng.integers(1000))
        kept = strategy.keep(shown, capacity, np.random.default_rng(seed))
        again = strategy.keep(shown, capacity, np.random.default_rng(seed))
        np.testing.assert_array_equal(kept, again)
        assert kept.dtype == np.int64
        safe = guarded(strategy, shown, capacity, np.random.default_rng(seed))
        for numbers in (kept, safe):
            assert len(set(numbers.tolist())) == len(numbers) == capacity
            assert set(numbers.tolist()) <= set(shown.numbers.tolist())
        left, counts = np.unique(shown.strata[np.isin(shown.numbers, safe)], return_counts=True)
        assert len(left) == len(np.unique(shown.strata)) or counts.max() == 1


@pytest.mark.parametrize("name", names("memory.recall"))
def test_recall_contract(name):
    strategy = recall(name, **NEEDS.get(name, {}))
    rng = np.random.default_rng(2)
    for _ in range(60):
        size = int(rng.integers(0, 30))
        shown = view(rng.integers(0, 5, size), rng.integers(1, 6, size), rng.integers(0, 4, size))
        count, seed = int(rng.integers(0, 60)), int(rng.integers(1000))
        for like in ((), (Observation("wrong"),) * 3):
            drawn = strategy.draw(shown, like, count, np.random.default_rng(seed))
            np.testing.assert_array_equal(drawn, strategy.draw(shown, like, count, np.random.default_rng(seed)))
            assert drawn.dtype == np.int64
            assert len(set(drawn.tolist())) == len(drawn)
            assert set(drawn.tolist()) <= set(shown.numbers.tolist())
            held = int(shown.length[np.isin(shown.numbers, drawn)].sum())
            if like:
                assert held >= min(count, int(shown.length.sum()))
            assert held <= count + 4 * 5  # a part of a mixture may go beyond its share by an episode


def test_reservoir_keeps_the_highest_priorities_whatever_the_order():
    shown = view([0] * 5, priority=[0.1, 0.9, 0.5, 0.7, 0.3])
    kept = retention("reservoir").keep(shown, 3, np.random.default_rng(0))
    assert sorted(kept.tolist()) == [11, 12, 13]
    fewer = retention("reservoir").keep(shown, 2, np.random.default_rng(0))
    assert set(fewer.tolist()) <= set(kept.tolist())


def test_balanced_shares_by_hand():
    """Strata of 5, 1 and 3 in 6 places: 1 takes 1, the others share 5: 2 each and the odd one by the dice."""
    shown = view([0] * 5 + [1] + [2] * 3, priority=np.linspace(0, 1, 9))
    kept = retention("balanced").keep(shown, 6, np.random.default_rng(0))
    counts = np.bincount(shown.strata[np.isin(shown.numbers, kept)])
    assert counts[1] == 1
    assert sorted(counts.tolist()) == [1, 2, 3]
    assert {13, 14} <= set(kept.tolist())  # the highest priorities of the first stratum
    assert doctest.testmod(balanced_module).failed == 0


def test_guard_puts_back_a_lost_stratum():
    class Greedy:
        def keep(self, view, capacity, rng):
            return view.numbers[:capacity]

    shown = view([0, 0, 0, 1, 2], priority=[0.3, 0.1, 0.2, 0.5, 0.5])
    kept = guarded(Greedy(), shown, 3, np.random.default_rng(0))
    assert kept.tolist() == [10, 13, 14]  # the lowest priorities of the largest stratum made room


@pytest.mark.parametrize("wrong", [[10, 10], [10, 11, 12], [99]])
def test_guard_refuses_a_broken_strategy(wrong):
    class Broken:
        def keep(self, view, capacity, rng):
            return np.array(wrong)

    with pytest.raises(UserError, match=r"memory.retention: .*Mend its keep\(\)"):
        guarded(Broken(), view([0, 0, 1]), 2, np.random.default_rng(0))


def test_uniform_deals_to_strata_in_turn_by_steps():
    """Episodes of 1 step in one stratum and of 3 in the other: 12 steps are 6 and 6, not 3 and 9."""
    shown = view([0] * 10 + [1] * 10, length=[1] * 10 + [3] * 10)
    for seed in range(20):
        drawn = recall("uniform").draw(shown, (), 12, np.random.default_rng(seed))
        held = np.bincount(shown.strata, weights=shown.length * np.isin(shown.numbers, drawn))
        assert held.tolist() == [6, 6]


def test_uniform_reaches_everything():
    shown = view([0, 0, 0, 1])
    drawn = {recall("uniform").draw(shown, (), 1, np.random.default_rng(seed))[0] for seed in range(60)}
    assert drawn == {10, 11, 12, 13}


def test_age_takes_the_longest_unseen_and_ties_at_random():
    shown = view([0] * 5, seen=[3, 1, 2, 1, 0])
    drawn = [tuple(recall("age").draw(shown, (), 3, np.random.default_rng(seed)).tolist()) for seed in range(20)]
    assert set(drawn) == {(14, 11, 13), (14, 13, 11)}


def test_similar_follows_the_index_and_draws_nothing_without_a_question():
    shown = view([0] * 4, length=[2] * 4, near=[12, 10, 13, 11])
    similar = recall("similar")
    assert similar.draw(shown, (Observation("x"),), 3, np.random.default_rng(0)).tolist() == [12, 10]
    assert similar.draw(shown, (), 3, np.random.default_rng(0)).tolist() == []


def test_mixture_gives_each_part_its_share():
    """8 steps, weights 1 and 3: 2 of the nearest (12, 10), then 6 of the longest unseen of the rest."""
    shown = view([0] * 9, seen=[0, 1, 2, 3, 4, 5, 6, 7, 8], near=[12, 10, 11, 13, 14, 15, 16, 17, 18])
    parts = [{"type": "similar", "weight": 1}, {"type": "age", "weight": 3}]
    mixture = recall("mixture", parts=parts)
    asked = (Observation("x"),)
    assert mixture.draw(shown, asked, 8, np.random.default_rng(0)).tolist() == [12, 10, 11, 13, 14, 15, 16, 17]
    assert mixture.draw(shown, (), 8, np.random.default_rng(0)).tolist() == [10, 11, 12, 13, 14, 15, 16, 17]
    turned = recall("mixture", parts=parts[::-1])  # the last part is mute: the first is asked again
    assert turned.draw(shown, (), 8, np.random.default_rng(0)).tolist() == [10, 11, 12, 13, 14, 15, 16, 17]


def test_mixture_settings_are_checked():
    with pytest.raises(ValidationError, match="the weight of part 'age' is 0"):
        recall("mixture", parts=[{"type": "age", "weight": 0}])
    with pytest.raises(UserError, match=r"no recall 'agee'. Did you mean 'age'"):
        recall("mixture", parts=[{"type": "agee"}])
    with pytest.raises(UserError, match="mixture in a mixture"):
        recall("mixture", parts=[{"type": "mixture"}])
    with pytest.raises(ValidationError):
        recall("mixture", parts=[])
