"""Composed rewards: each part by hand, shaping that changes no policy's place, cost held by its multiplier."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.advantages import returns_to_go
from agent.rewards import RewardSettings, grounding
from envs.component import UserError
from envs.types import Episode, Observation, Step, StopReason
from tests.memory.making import action, episode, step

RNG = np.random.default_rng(0)
SEEN = Observation("x")


def played(*steps: Step, **changes: Any) -> Episode:
    return episode("a", RNG, steps=steps, **changes)


def composed(settings: Mapping[str, Any], *steps: Step) -> list[float]:
    (out,), _ = RewardSettings.model_validate(settings).build().of([played(*steps)])
    return [s.reward for s in out.steps]


def costing(*costs: float, **changes: Any) -> Episode:
    return played(*(step(SEEN, reward=1.0, cost=cost) for cost in costs), **changes)


# -- parts ------------------------------------------------------------------------------------------------------------


def test_default_gives_the_very_episodes() -> None:
    episodes = [played(step(SEEN, reward=0.3, cost=2.0)), played(step(SEEN, reward=float("nan")))]
    out, metrics = RewardSettings().build().of(episodes)
    assert all(a is b for a, b in zip(out, episodes, strict=True))
    assert metrics["cost"] == 1.0
    assert metrics["cost_multiplier"] == 0.0


def test_weights_of_task_and_format_by_hand() -> None:
    """2 * 0.5 + 0.1 = 1.1; unreadable: 2 * (-1) + 0 = -2. Nothing else of the step changes."""
    good, bad = step(SEEN, reward=0.5), step(SEEN, reward=-1.0, action=action(readable=False))
    (out,), metrics = RewardSettings(task=2, format=0.1).build().of([played(good, bad)])
    assert [s.reward for s in out.steps] == [1.1, -2.0]
    assert out.steps[0].action is good.action
    assert (metrics["task"], metrics["format"]) == (-1.0, 0.1)
    assert "shaping" not in metrics


def test_metrics_sum_up_to_the_return() -> None:
    wanted = {"task": 0.5, "format": 0.25, "brevity": 0.1, "cost": {"limit": 1.0, "start": 2.0}}
    rewards = RewardSettings.model_validate(wanted).build()
    steps = [step(SEEN, reward=3.0, cost=0.5, action=action("abcd", mode="open")), step(SEEN, reward=-1.0, cost=0.25)]
    out, m = rewards.of([played(*steps), played(steps[0])])
    mean = np.mean([sum(s.reward for s in e.steps) for e in out])
    assert mean == pytest.approx(m["task"] + m["format"] + m["brevity"] - m["cost_multiplier"] * m["cost"])


def test_brevity_takes_open_tokens_beyond_the_first() -> None:
    """Four open tokens: -0.5 * 3; one: 0; four closed: 0."""
    answers = [action("abcd", mode="open"), action("a", mode="open"), action("abcd")]
    assert composed({"brevity": 0.5}, *(step(SEEN, action=a) for a in answers)) == [-1.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red ball", 1.0),
        ("A RED  ball and a key", 0.0),  # one there, one not: (1 - 1) / 2
        ("ball", -1.0),  # a red ball is there, a plain one is not
        ("red ball, red ball, red ball and a key", 0.0),  # saying it again outweighs nothing
        ("red balloon", 0.0),  # no name, so 0
        ("red ball box key", 1 / 3),
        ("", 0.0),
    ],
)
def test_grounding_by_hand(text: str, expected: float) -> None:
    assert grounding(text, ["Red ball", "box"], ["ball", "key"]) == pytest.approx(expected)


def test_grounding_of_names_that_are_patterns() -> None:
    assert grounding("a c++ book", ["c++"], ["c"]) == 1.0
    assert grounding("anything", [], []) == 0.0


def test_answers_that_never_reached_the_world_are_told_nothing() -> None:
    """Such a step leaves the state where it was: with discount 0.5 and potential 4 it gets (0.5 - 1) * 4 = -2."""
    lost = step(SEEN, action=action("hm", None, readable=False), info={})
    there = step(SEEN, info={"potential_before": 4.0, "potential": 6.0})
    assert composed({"grounding": 1.0}, lost) == [0.0]
    assert composed({"shaping": 1.0, "discount": 0.5}, lost) == [0.0]
    assert composed({"shaping": 1.0, "discount": 0.5}, lost, there, lost) == [-2.0, -1.0, -3.0]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "info", "message"),
    [
        ({"shaping": 0.5}, {"potential_before": 1.0}, r"rewards.shaping is 0.5.*info\['potential'\].*set rewards.shap"),
        ({"shaping": 0.5}, {"potential": 1.0}, r"info\['potential_before'\]"),
        ({"shaping": 1.0}, {"potential": float("nan"), "potential_before": 0.0}, "nan: it must be a finite number"),
        ({"shaping": 1.0}, {"potential": "far", "potential_before": 0.0}, "'far': it must be a finite number"),
        ({"grounding": 1.0}, {"absent": ["key"]}, r"info\['present'\].*set rewards.grounding to 0"),
        ({"grounding": 1.0}, {"present": ["key"]}, r"info\['absent'\]"),
        ({"grounding": 1.0}, {"present": "key", "absent": []}, "'key': it must be a list of texts"),
        ({"grounding": 1.0}, {"present": [" "], "absent": []}, "none of them blank"),
    ],
)
def test_a_world_that_does_not_tell(wanted: dict[str, float], info: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        composed(wanted, step(SEEN, info=info))


@pytest.mark.parametrize(
    "wanted",
    [
        {"task": float("nan")},
        {"discount": 1.1},
        {"format": -1},
        {"brevity": -1},
        {"gounding": 1},
        {"cost": {}},
        {"cost": {"limit": -1}},
        {"cost": {"limit": 1, "start": 11}},
    ],
)
def test_settings_that_are_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RewardSettings.model_validate(wanted)


# -- shaping ----------------------------------------------------------------------------------------------------------

DISCOUNT = 0.5  # powers of two are exact: returns can be compared with ==
NEXT = {0: {"a": 1, "b": 2}, 1: {"a": 2, "b": 3}, 2: {"a": 3, "b": None}}
"""A world of states 0, 1, 2: where each action leads. 3 is the goal, None the pit: both terminate."""
POLICIES = list(product("ab", repeat=3))
NUMBERS = st.lists(st.integers(-8, 8).map(float), min_size=6, max_size=6)
POTENTIALS = st.lists(st.integers(-8, 8).map(float), min_size=3, max_size=3)


def follow(policy: Sequence[str], rewards: Sequence[float], potentials: Sequence[float], most: int = 9) -> Episode:
    """Play from state 0, at most `most` steps. What the world says of a terminal state (7) must not count."""
    steps: list[Step] = []
    state: int | None = 0
    while state in NEXT and len(steps) < most:
        here, state = state, NEXT[state][policy[state]]
        over = state not in NEXT
        steps.append(
            step(
                SEEN,
                reward=rewards[2 * here + (policy[here] == "b")],
                terminated=over,
                truncated=not over and len(steps) + 1 == most,
                info={"potential_before": potentials[here], "potential": 7.0 if over else potentials[state or 0]},
            )
        )
    return played(*steps)


def value(of: Episode) -> float:
    return float(returns_to_go([of], DISCOUNT)[0])


@settings(max_examples=60, deadline=None)
@given(rewards=NUMBERS, potentials=POTENTIALS)
def test_shaping_leaves_the_order_of_policies(rewards: list[float], potentials: list[float]) -> None:
    """Every policy's return moves by the same: minus the first state's potential, the terminal one's being 0."""
    plain = [follow(policy, rewards, potentials) for policy in POLICIES]
    shaped, _ = RewardSettings(shaping=1.0, discount=DISCOUNT).build().of(plain)
    assert [value(b) - value(a) for a, b in zip(plain, shaped, strict=True)] == [-potentials[0]] * len(POLICIES)
    for (a, x), (b, y) in combinations(zip(plain, shaped, strict=True), 2):
        assert np.sign(value(a) - value(b)) == np.sign(value(x) - value(y))


@settings(max_examples=60, deadline=None)
@given(rewards=NUMBERS, potentials=POTENTIALS)
def test_a_truncated_state_keeps_its_potential(rewards: list[float], potentials: list[float]) -> None:
    """0 -> 1 -> 2, cut there: the return moves by discount^2 * potential(2) - potential(0)."""
    cut = follow("aab", rewards, potentials, most=2)
    (shaped,), _ = RewardSettings(shaping=1.0, discount=DISCOUNT).build().of([cut])
    assert cut.steps[-1].truncated
    assert value(shaped) - value(cut) == DISCOUNT**2 * potentials[2] - potentials[0]


def test_another_discount_than_the_returns_does_change_the_order() -> None:
    """The control: short way 0 -b-> 2 -a-> goal pays 1, long way 0 -a-> 1 -a-> 2 -a-> goal pays 2 at the goal's step.

    Discounted by 0.5 they are worth 0.5 and 0.5 less a little (1.9 / 4 = 0.475). Shaped with discount 1 and potentials
    0, 8, 0, the long way gets 8 at once and gives 8 back at half the price.
    """
    short = played(
        step(SEEN, info={"potential_before": 0.0, "potential": 0.0}),
        step(SEEN, reward=1.0, terminated=True, info={"potential_before": 0.0, "potential": 0.0}),
    )
    long = played(
        step(SEEN, info={"potential_before": 0.0, "potential": 8.0}),
        step(SEEN, info={"potential_before": 8.0, "potential": 0.0}),
        step(SEEN, reward=1.9, terminated=True, info={"potential_before": 0.0, "potential": 0.0}),
    )
    for discount, long_is_better in ((DISCOUNT, False), (1.0, True)):
        (a, b), _ = RewardSettings(shaping=1.0, discount=discount).build().of([short, long])
        assert (value(b) > value(a)) == long_is_better


# -- cost -------------------------------------------------------------------------------------------------------------


def test_multiplier_by_hand() -> None:
    """Limit 1, rate 0.5, start 2. Costs 1 + 2 and 5: mean 4. Rewards 1 - 2 * cost; then 2 + 0.5 * (4 - 1) = 3.5."""
    rewards = RewardSettings.model_validate({"cost": {"limit": 1.0, "learning_rate": 0.5, "start": 2.0}}).build()
    out, metrics = rewards.of([costing(1.0, 2.0), costing(5.0)])
    assert [[s.reward for s in e.steps] for e in out] == [[-1.0, -3.0], [-9.0]]
    assert (metrics["cost"], metrics["cost_multiplier"]) == (4.0, 2.0)
    assert rewards.multiplier == 3.5


def test_multiplier_stays_between_nothing_and_most_and_goes_on_where_it_was() -> None:
    bound = {"cost": {"limit": 1.0, "learning_rate": 1.0, "most": 3.0}}
    rewards = RewardSettings.model_validate(bound).build()
    seen = []
    for cost in (0.0, 3.0, 9.0, 0.0, 0.0, 0.0, 0.0):
        rewards.of([costing(cost)])
        seen.append(rewards.multiplier)
    assert seen == [0.0, 2.0, 3.0, 2.0, 1.0, 0.0, 0.0]
    assert RewardSettings.model_validate(bound).build(multiplier=2.5).multiplier == 2.5
    assert RewardSettings.model_validate(bound).build(multiplier=99.0).multiplier == 3.0
    assert RewardSettings().build(multiplier=2.5).multiplier == 0.0  # no bound any more


def test_a_bound_makes_the_costly_answer_worse_and_lets_go_below_it() -> None:
    """An agent that takes the better of a costly way (2.0, cost 1) and a safe one (1.0), round after round.

    Without the bound it stays costly for ever. With limit 0.25 it ends up costly about a quarter of the time.
    """

    def costly_share(wanted: dict[str, Any]) -> float:
        rewards = RewardSettings.model_validate(wanted).build()
        ways = [played(step(SEEN, reward=2.0, cost=1.0)), played(step(SEEN, reward=1.0))]
        taken = []
        for _ in range(400):
            paid, _ = RewardSettings.model_validate(wanted).build(rewards.multiplier).of(ways)
            best = int(np.argmax([e.steps[0].reward for e in paid]))
            rewards.of([ways[best]])
            taken.append(best == 0)
        return float(np.mean(taken[100:]))

    assert costly_share({}) == 1.0
    assert costly_share({"cost": {"limit": 0.25, "learning_rate": 0.05}}) == pytest.approx(0.25, abs=0.02)


def test_broken_episodes_stay_as_they_are_and_count_nowhere() -> None:
    """Mean cost is 3 of the one sound episode, not 51.5."""
    broken = costing(100.0, stop=StopReason.ENV_ERROR)
    rewards = RewardSettings.model_validate(
        {"shaping": 1.0, "task": 0.0, "cost": {"limit": 1.0, "learning_rate": 1.0}}
    ).build()
    sound = played(step(SEEN, cost=3.0, info={"potential": 1.0, "potential_before": 0.0}))
    out, metrics = rewards.of([broken, sound])
    assert out[0] is broken
    assert metrics["cost"] == 3.0
    assert rewards.multiplier == 2.0
    assert rewards.of([broken]) == ([broken], {"cost_multiplier": 2.0})
    assert rewards.multiplier == 2.0


def test_a_cost_that_is_no_number_leaves_the_multiplier() -> None:
    rewards = RewardSettings.model_validate({"cost": {"limit": 1.0, "start": 2.0}}).build()
    out, _ = rewards.of([costing(float("nan"))])
    assert np.isnan(out[0].steps[0].reward)
    assert rewards.multiplier == 2.0
