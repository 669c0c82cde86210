"""Ladder: the same rules on every rung, and a way that grows until luck is no help."""

import numpy as np
import pytest
from playing import play

from envs.cards import MINUS, PLUS, NumberLine, draw_numbers
from envs.check import check_world
from envs.component import UserError
from envs.ladder import LEVELS, Ladder
from envs.multimodal import WorldSettings


@pytest.mark.parametrize("level", LEVELS)
def test_the_distance_is_that_of_the_rung(level: int) -> None:
    env, met = Ladder(level), set()
    for seed in range(200):
        _, told = env.reset(seed=seed)
        met.add(env.distance)
        assert told["potential"] == -env.distance / 10
    least, most = LEVELS[level]
    assert met == set(range(least, most + 1))


@pytest.mark.parametrize(("level", "coin"), [(1, 1 / 2), (2, 23 / 120), (3, 19 / 480), (4, 17 / 3072)])
def test_controls_are_as_the_docstring_says(level: int, coin: float) -> None:
    """Pairs of 0..9 that are d apart: 10 - d. A coin is right d times with 2^-d: (8/4 + 7/8) / 15 = 23/120 on rung 2,
    (6/16 + 5/32 + 4/64) / 15 = 19/480 on rung 3, (3/128 + 2/256 + 1/512) / 6 = 17/3072 on rung 4."""
    env, seeds = Ladder(level), range(400)
    assert np.mean([0.5 ** (high - low) for low, high in env.pairs]) == pytest.approx(coin)
    rng = np.random.default_rng(level)
    won = play(env, lambda _: rng.integers(2), seeds)
    assert won == pytest.approx(coin, abs=4 * (coin * (1 - coin) / len(seeds)) ** 0.5)
    assert play(env, lambda _: PLUS, seeds) == play(env, lambda _: MINUS, seeds) == 0.5
    assert play(env, Ladder.expert, seeds) == 1.0


def test_a_step_by_hand_and_the_words_are_the_number_line_s() -> None:
    """Rung 1, seed 0: the target is one above."""
    env = Ladder(1)
    seen, _ = env.reset(seed=0)
    assert env.target == env.current + 1
    assert seen["text"] == NumberLine.WANTED
    np.testing.assert_array_equal(seen["image"], draw_numbers(env.target, env.current))
    assert env.step(PLUS)[1:] == (1, True, False, {"success": True, "potential": 0})
    env.reset(seed=1)  # the target is one below
    _, reward, over, late, info = env.step(PLUS)
    assert (reward, over, late, info["success"]) == (0, True, False, False)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.reset(seed=0)[0]["image"], seen["image"])


@pytest.mark.parametrize("level", LEVELS)
def test_it_keeps_the_contract(level: int) -> None:
    world = {"id": "envs.ladder:Ladder-v0", "kwargs": {"level": level}, "success": {"info": "success"}}
    assert max(check_world(WorldSettings.model_validate(world)).steps) <= LEVELS[level][1]


def test_a_rung_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"^level is 5: the ladder has 4 rungs. Set it to 1..4.$"):
        Ladder(5)
