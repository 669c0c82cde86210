"""The worlds of numbers and cards: rules, balance, drawing."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from playing import play

from envs import cards
from envs.cards import RANKS, SUITS, Higher, NumberLine, draw_cards, draw_numbers
from envs.component import UserError


@pytest.mark.parametrize("name", ["NumberLine-v0", "Higher-v0"])
def test_gymnasium_accepts_it_and_a_seed_repeats(name):
    env = gymnasium.make(f"envs.cards:{name}").unwrapped
    check_env(env)
    first, again = env.reset(seed=7)[0], env.reset(seed=7)[0]
    assert first["text"] == again["text"]
    assert np.array_equal(first["image"], again["image"])


def test_every_step_of_the_number_line_must_be_right():
    """From 3 to 6 in three steps: plus three times, each paid a third. After one minus, the steps are too few."""
    env = NumberLine()
    env.reset(seed=0)
    env.target, env.current, env.distance, env.left = 6, 3, 3, 3
    steps = [env.step(cards.PLUS)[1:] for _ in range(3)]
    assert [reward for reward, *_ in steps] == pytest.approx([1 / 3] * 3)
    assert [(end, late, info["success"]) for _, end, late, info in steps] == [
        (False,) * 3,
        (False,) * 3,
        (True, False, True),
    ]
    env.target, env.current, env.left = 6, 3, 3
    steps = [env.step(action)[1:] for action in (cards.MINUS, cards.PLUS, cards.PLUS)]
    assert [reward for reward, *_ in steps] == pytest.approx([0, 1 / 3, 1 / 3])
    assert [(end, late, info["success"]) for _, end, late, info in steps] == [
        (False,) * 3,
        (False,) * 3,
        (False, True, False),
    ]


def test_the_number_line_tells_how_far_it_is():
    """From 3 to 6: a tenth for each number between."""
    env = NumberLine()
    env.reset(seed=0)
    env.target, env.current, env.distance, env.left = 6, 3, 3, 3
    assert [env.step(action)[4]["potential"] for action in (cards.MINUS, cards.PLUS)] == [-0.4, -0.3]
    target, current = env.target, env.current
    assert env.reset(seed=5)[1]["potential"] == -abs(env.target - env.current) / 10
    assert (target, current) == (6, 3)


def test_number_line_is_won_by_looking_only():
    env, seeds = NumberLine(), range(400)
    rng = np.random.default_rng(0)
    assert play(env, NumberLine.expert, seeds) == 1.0
    assert play(env, lambda e: cards.PLUS, seeds) == 0.5
    assert play(env, lambda e: cards.MINUS, seeds) == 0.5
    assert play(env, lambda e: rng.integers(2), seeds) < 0.2


def test_higher_needs_picture_and_rule():
    env, seeds = Higher(), range(400)
    assert play(env, Higher.expert, seeds) == 1.0
    assert play(env, lambda e: cards.LEFT, seeds) == 0.5
    # deaf: always the higher card, whatever the rule says
    assert play(env, lambda e: e.winner if e.named == "higher" else 1 - e.winner, seeds) == 0.5


def test_no_two_pictures_are_alike():
    numbers = [draw_numbers(a, b) for a, b in itertools.product(range(10), repeat=2)]
    plain = draw_cards(("2", "hearts"), ("2", "hearts"))
    hands = [draw_cards(card, ("2", "hearts")) for card in itertools.product(RANKS, SUITS)]
    for pictures in (numbers, hands):
        assert all(p.shape == (56, 56, 3) and p.dtype == np.uint8 for p in pictures)
        assert len({p.tobytes() for p in pictures}) == len(pictures)
    assert np.array_equal(hands[RANKS.index("2") * len(SUITS)], plain)


def test_options_out_of_range_name_the_remedy():
    with pytest.raises(UserError, match="least is 10"):
        NumberLine(least=10)
    with pytest.raises(UserError, match="most is 3: with least 4, numbers start 4 to 9 apart"):
        NumberLine(least=4, most=3)
    with pytest.raises(UserError, match="rule is 'best'"):
        Higher(rule="best")
