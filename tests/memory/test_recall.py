"""Every recall module keeps its contract; and what each is for, by hand."""

import numpy as np
import pytest
from pydantic import ValidationError
from views import view

from envs.component import UserError, load, names
from memory.recall import Drawn, Failure, checked

# What modules need beside their type; a new module without needs is tested the moment it exists.
NEEDS: dict[str, dict[str, object]] = {}
WRONG = Failure(-1, "renamed", np.ones(4, np.float32))


def recall(name, **settings):
    return load("memory.recall", {"type": name, **settings}, "recall").build()


@pytest.mark.parametrize("name", names("memory.recall"))
def test_recall_contract(name):
    strategy = recall(name, **NEEDS.get(name, {}))
    rng = np.random.default_rng(2)
    for _ in range(60):
        size = int(rng.integers(0, 30))
        shown = view(
            rng.integers(0, 5, size), rng.integers(1, 6, size), rng.integers(0, 4, size), drift=rng.random(size)
        )
        count, seed = int(rng.integers(0, 60)), int(rng.integers(1000))
        for like in ((), (WRONG,) * 3):
            drawn = checked(strategy, shown, like, count, np.random.default_rng(seed))
            again = strategy.draw(shown, like, count, np.random.default_rng(seed))
            np.testing.assert_array_equal(drawn.numbers, again.numbers)
            assert drawn.why == again.why
            assert drawn.numbers.dtype == again.numbers.dtype == np.int64
            assert {why.split(": ")[0] for why in drawn.why} <= set(names("memory.recall")) - {"mixture"}
            held = int(shown.length[shown.places(drawn.numbers)].sum())
            if like:
                assert held >= min(count, int(shown.length.sum()))
            assert held <= count + 4 * 5  # a part of a mixture may go beyond its share by an episode


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (np.array([10]), "returned ndarray. Let it return memory.recall.Drawn"),
        (Drawn(np.array([10, 10]), ("x: y",) * 2), "drew 2 episodes with 2 reasons"),
        (Drawn(np.array([99]), ("x: y",)), "drew 1 episodes with 1 reasons"),
        (Drawn(np.array([10, 11]), ("x: y",)), "drew 2 episodes with 1 reasons.*Mend its draw"),
    ],
)
def test_a_broken_recall_is_refused(drawn, message):
    class Broken:
        def draw(self, view, like, count, rng):
            return drawn

    with pytest.raises(UserError, match=f"memory.recall: .*{message}"):
        checked(Broken(), view([0, 0, 1]), (), 2, np.random.default_rng(0))


def test_uniform_deals_to_strata_in_turn_by_steps():
    """Episodes of 1 step in one stratum and of 3 in the other: 12 steps are 6 and 6, not 3 and 9."""
    shown = view([0] * 10 + [1] * 10, length=[1] * 10 + [3] * 10)
    for seed in range(20):
        drawn = recall("uniform").draw(shown, (), 12, np.random.default_rng(seed))
        held = np.bincount(shown.strata, weights=shown.length * np.isin(shown.numbers, drawn.numbers))
        assert held.tolist() == [6, 6]
        assert sorted(drawn.why) == ["uniform: goto/failed"] * 6 + ["uniform: goto/succeeded"] * 2


def test_uniform_reaches_everything():
    shown = view([0, 0, 0, 1])
    drawn = {recall("uniform").draw(shown, (), 1, np.random.default_rng(seed)).numbers[0] for seed in range(60)}
    assert drawn == {10, 11, 12, 13}


def test_age_takes_the_longest_unseen_and_ties_at_random():
    shown = view([0] * 5, seen=[3, 1, 2, 1, 0])
    drawn = [recall("age").draw(shown, (), 3, np.random.default_rng(seed)) for seed in range(20)]
    assert {tuple(d.numbers.tolist()) for d in drawn} == {(14, 11, 13), (14, 13, 11)}
    assert drawn[0].why == ("age: unseen since cycle 0", *["age: unseen since cycle 1"] * 2)


def test_drift_takes_the_highest_and_guesses_what_was_not_measured():
    """Known: 0.4 and 0.2 of goto/failed, 0.1 of renamed/failed. Guessed: 0.3, 0.1, and 0.7 / 3 where nothing is."""
    shown = view([0, 0, 0, 2, 2, 4], drift=[0.2, 0.4, 0, 0.1, 0, 0])
    drawn = [recall("drift").draw(shown, (), 6, np.random.default_rng(seed)) for seed in range(20)]
    assert {tuple(d.numbers.tolist()) for d in drawn} == {(11, 12, 15, 10, 13, 14), (11, 12, 15, 10, 14, 13)}
    assert drawn[0].why[:3] == (
        "drift: 0.400 nats",
        "drift: not measured yet, 0.300 nats in the mean of its like (goto/failed)",
        "drift: not measured yet, 0.233 nats in the mean of its like (cards/failed)",
    )


def test_drift_without_any_measurement_draws_at_random():
    shown = view([0] * 4)
    drawn = {recall("drift").draw(shown, (), 1, np.random.default_rng(seed)).numbers[0] for seed in range(60)}
    assert drawn == {10, 11, 12, 13}


def test_similar_follows_the_index_and_draws_nothing_without_a_failure():
    shown = view([0] * 4, length=[2] * 4, near=[12, 10, 13, 11])
    similar = recall("similar")
    drawn = similar.draw(shown, (WRONG,), 3, np.random.default_rng(0))
    assert drawn.numbers.tolist() == [12, 10]
    assert drawn.why == tuple(f"similar: cosine {c} to a failure of renamed" for c in ("0.99", "0.98"))
    assert similar.draw(shown, (), 3, np.random.default_rng(0)).numbers.tolist() == []


def test_a_failure_is_not_similar_to_itself():
    shown = view([0] * 4, near=[12, 10, 13, 11])
    itself = Failure(12, "goto", WRONG.vector)
    assert recall("similar").draw(shown, (itself,), 2, np.random.default_rng(0)).numbers.tolist() == [10, 13]


def test_mixture_gives_each_part_its_share():
    """8 steps, weights 1 and 3: 2 of the nearest (12, 10), then 6 of the longest unseen of the rest."""
    shown = view([0] * 9, seen=[0, 1, 2, 3, 4, 5, 6, 7, 8], near=[12, 10, 11, 13, 14, 15, 16, 17, 18])
    parts = [{"type": "similar", "weight": 1}, {"type": "age", "weight": 3}]
    mixture = recall("mixture", parts=parts)
    drawn = mixture.draw(shown, (WRONG,), 8, np.random.default_rng(0))
    assert drawn.numbers.tolist() == [12, 10, 11, 13, 14, 15, 16, 17]
    assert [why.split(":")[0] for why in drawn.why] == ["similar"] * 2 + ["age"] * 6
    alone = [10, 11, 12, 13, 14, 15, 16, 17]
    assert mixture.draw(shown, (), 8, np.random.default_rng(0)).numbers.tolist() == alone
    turned = recall("mixture", parts=parts[::-1])  # the last part is mute: the first is asked again
    assert turned.draw(shown, (), 8, np.random.default_rng(0)).numbers.tolist() == alone


def test_weights_add_up_over_all_strategies():
    """1000 steps by weights 1, 2, 3, 4: 100, 200, 300 and 400, whatever the order."""
    kinds = sorted(set(names("memory.recall")) - {"mixture"})
    weights = dict(zip(kinds, (1, 2, 3, 4), strict=True))
    shown = view([0, 1, 2, 3] * 500)
    for order in (kinds, kinds[::-1]):
        mixture = recall("mixture", parts=[{"type": kind, "weight": weights[kind]} for kind in order])
        drawn = mixture.draw(shown, (WRONG,), 1000, np.random.default_rng(0))
        told = [why.split(":")[0] for why in drawn.why]
        assert {kind: told.count(kind) for kind in kinds} == {kind: 100 * weights[kind] for kind in kinds}


def test_mixture_settings_are_checked():
    with pytest.raises(ValidationError, match="the weight of part 'age' is 0"):
        recall("mixture", parts=[{"type": "age", "weight": 0}])
    with pytest.raises(UserError, match=r"no recall 'agee'. Did you mean 'age'"):
        recall("mixture", parts=[{"type": "agee"}])
    with pytest.raises(UserError, match="mixture in a mixture"):
        recall("mixture", parts=[{"type": "mixture"}])
    with pytest.raises(ValidationError):
        recall("mixture", parts=[])
