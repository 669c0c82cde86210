"""Every retention module keeps its contract; and what each is for, by hand."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from views import view

import memory.retention.balanced as balanced_module
import memory.retention.coverage as coverage_module
from envs.component import UserError, load, names
from memory.retention import guarded
from memory.retention.coverage import farthest_first, projected

# What modules need beside their type; a new module without needs is tested the moment it exists.
NEEDS: dict[str, dict[str, object]] = {}


def retention(name, **settings):
    return load("memory.retention", {"type": name, **settings}, "retention").build()


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


@pytest.mark.parametrize("name", names("memory.retention"))
@settings(max_examples=40, deadline=None)
@given(
    strata=st.lists(st.integers(0, 7), min_size=2, max_size=30),
    gains=st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 1e300, np.inf, np.nan]), min_size=30, max_size=30),
    ties=st.booleans(),
    data=st.data(),
)
def test_no_stratum_is_lost_while_another_has_two(name, strata, gains, ties, data):
    shown = view(strata, gain=gains[: len(strata)], priority=[0.0] * len(strata) if ties else None)
    capacity = data.draw(st.integers(1, len(strata) - 1))
    kept = guarded(retention(name, **NEEDS.get(name, {})), shown, capacity, np.random.default_rng(0))
    assert len(kept) == capacity
    left, counts = np.unique(shown.strata[shown.places(kept)], return_counts=True)
    assert len(left) == len(set(strata)) or counts.max() == 1


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


def test_rewarded_is_the_weighted_reservoir_of_efraimidis_and_spirakis():
    """With temperature 1 weights are e^0 = 1 and e^ln(4) = 4: keys 0.5, 0.0625^(1/4) = 0.5, 0.81, 0.3^(1/4) = 0.74."""
    shown = view([0] * 4, gain=[0, np.log(4), 0, np.log(4)], priority=[0.49, 0.0625, 0.81, 0.3])
    order = [[12], [12, 13], [12, 13, 11]]
    for most, wanted in enumerate(order, 1):
        kept = retention("rewarded", temperature=1).keep(shown, most, np.random.default_rng(0))
        assert kept.tolist() == wanted


def test_rewarded_keeps_by_weight_and_what_is_no_number_goes_first():
    """One place, weights 1 and 3: the heavier stays in 3 of 4 lives. Equal returns: half of them."""
    rng = np.random.default_rng(0)
    for gain, share in ((np.log(3), 0.75), (0.0, 0.5)):
        stayed = 0
        for _ in range(1000):
            shown = view([0, 0], gain=[0, gain], priority=rng.random(2))
            stayed += int(retention("rewarded", temperature=1).keep(shown, 1, rng)[0] == 11)
        assert stayed / 1000 == pytest.approx(share, abs=0.05)  # 3 standard deviations are 0.047
    odd = view([0] * 4, gain=[np.nan, 1e300, -1e300, np.inf], priority=[0.9] * 4)
    assert retention("rewarded").keep(odd, 3, rng).tolist() == [13, 11, 12]


def test_rewarded_does_not_see_in_what_order_episodes_came_or_how_often_it_was_full():
    """Kept of all at once, and kept again and again as they come: the same episodes."""
    rng = np.random.default_rng(5)
    strategy = retention("rewarded")
    whole = view([0] * 60, gain=rng.normal(size=60), priority=rng.random(60))
    once = strategy.keep(whole, 12, rng)
    for order in (np.arange(60), rng.permutation(60)):
        held = np.empty(0, np.int64)
        for part in np.split(order, 6):
            there = np.zeros(60, np.bool_)
            there[[*whole.places(held), *part]] = True
            shown = whole.where(there)
            held = strategy.keep(shown, min(12, len(shown)), rng)
        assert set(held.tolist()) == set(once.tolist())


def brute_farthest(points, count):
    chosen = [0]
    while len(chosen) < count:
        gaps = [min(float(np.sum((p - points[c]) ** 2)) for c in chosen) for p in points]
        chosen.append(int(np.argmax([-1 if i in chosen else gap for i, gap in enumerate(gaps)])))
    return chosen


def test_farthest_first_against_brute_force():
    rng = np.random.default_rng(3)
    for _ in range(20):
        points = rng.integers(0, 3, (int(rng.integers(2, 25)), 3)).astype(np.float32)  # some are the same
        count = int(rng.integers(1, len(points) + 1))
        assert farthest_first(points, count).tolist() == brute_farthest(points, count)
    assert doctest.testmod(coverage_module).failed == 0


def test_projection_keeps_distances_nearly():
    points = np.random.default_rng(0).normal(size=(40, 600)).astype(np.float32)
    squares = [np.sum((a[:, None] - a[None]) ** 2, axis=2)[np.triu_indices(40, 1)] for a in (points, projected(points))]
    ratio = np.sqrt(squares[1] / squares[0])
    assert projected(points).shape == (40, 32)
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert ratio.std() < 0.15


def test_coverage_keeps_one_of_each_cluster_where_a_reservoir_keeps_the_crowd():
    """90 episodes lie together, 5 lie apart from them and from each other; 8 places."""
    rng = np.random.default_rng(0)
    apart = [[10, 0, 0, 0], [0, 10, 0, 0], [0, 0, 10, 0], [0, 0, 0, 10], [-9, -9, -9, -9]]
    points = np.concatenate([rng.normal(0, 0.01, (90, 4)), apart])
    shown = view([0] * 95, points=points, priority=rng.random(95))
    apart_of = lambda name: {n for n in retention(name).keep(shown, 8, rng).tolist() if n >= 100}  # noqa: E731
    assert apart_of("coverage") == {100, 101, 102, 103, 104}
    assert len(apart_of("reservoir")) < 3
