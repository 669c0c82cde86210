"""Pairs worked out by hand: what two episodes of a group say about their first parting."""

import numpy as np
import pytest

from envs.types import Observation, StopReason
from memory.preferences import pairs_from_episodes, undiscounted_return
from tests.memory.making import action, episode, step

RNG = np.random.default_rng(0)
START = Observation("<image>start", (np.zeros((2, 2, 3), np.uint8),))
LEFT, RIGHT = Observation("left room"), Observation("right room")


def played(name, moves, **changes):
    """Each move is (observation, command, reward)."""
    steps = tuple(
        step(seen, action=action(f"say {command}", command, logprob=-0.25 * (place + 1)), reward=reward)
        for place, (seen, command, reward) in enumerate(moves)
    )
    return episode(name, RNG, steps=steps, **changes)


def told(pairs):
    return [(p.observation.text, p.chosen.command, p.rejected.command, p.margin) for p in pairs]


def test_first_parting_by_hand():
    """a: go left (0), pick (1) -> 1.0; b: go left (0), drop (-0.5) -> -0.5; c: go right (0.25) -> 0.25.

    a and b part in the left room, margin 1.5; a and c at the start, 0.75; b and c at the start, 0.75, c better.
    """
    a = played("a", [(START, "left", 0), (LEFT, "pick", 1)])
    b = played("b", [(START, "left", 0), (LEFT, "drop", -0.5)])
    c = played("c", [(START, "right", 0.25)])
    assert told(pairs_from_episodes([a, b, c])) == [
        ("left room", "pick", "drop", 1.5),
        ("<image>start", "left", "right", 0.75),
        ("<image>start", "right", "left", 0.75),
    ]


def test_what_a_pair_carries():
    a = played("a", [(START, "x", 1)], task="t", cycle=7)
    b = played("b", [(START, "y", 0)], task="t", cycle=7)
    (pair,) = pairs_from_episodes([b, a])
    assert pair.observation is a.steps[0].observation
    assert (pair.choices, pair.source, pair.task, pair.cycle) == (a.steps[0].choices, "returns", "t", 7)
    assert pair.reference_logprobs == (-0.25, -0.25)


def test_reference_is_the_whole_answer():
    several = action("abc", 1, logprobs=np.array([-0.5, -0.25, -1], np.float32))
    a = episode("a", RNG, steps=(step(START, action=several, reward=1.0),))
    b = played("b", [(START, "y", 0)])
    assert pairs_from_episodes([a, b])[0].reference_logprobs == (-1.75, -0.25)


def test_groups_and_tasks_are_not_mixed():
    a = played("a", [(START, "x", 1)], group="1")
    b = played("b", [(START, "y", 0)], group="2")
    c = played("c", [(START, "y", 0)], group="1", task="another")
    assert pairs_from_episodes([a, b, c]) == []


def test_no_pair_without_a_difference_in_return():
    assert pairs_from_episodes([played("a", [(START, "x", 1)]), played("b", [(START, "y", 1)])]) == []


def test_one_command_said_in_two_ways_is_no_parting():
    a = episode("a", RNG, steps=(step(START, action=action("go", 1)), step(LEFT, action=action("pick", 2), reward=1.0)))
    b = episode("b", RNG, steps=(step(START, action=action("Go!", 1)), step(LEFT, action=action("drop", 3))))
    assert told(pairs_from_episodes([a, b])) == [("left room", 2, 3, 1.0)]
    c = episode("c", RNG, steps=(step(START, action=action("Go!", 1), reward=5.0),))
    assert pairs_from_episodes([a, c]) == []  # one just stopped earlier: no answer to compare


def test_unreadable_is_another_answer_than_the_no_op_it_became():
    a = episode("a", RNG, steps=(step(START, action=action("stay", 0), reward=1.0),))
    b = episode("b", RNG, steps=(step(START, action=action("hm", 0, readable=False)),))
    assert len(pairs_from_episodes([a, b])) == 1
    c = episode("c", RNG, steps=(step(START, action=action("er", 0, readable=False), reward=-1.0),))
    assert pairs_from_episodes([b, c]) == []


def test_a_world_that_parts_by_itself_makes_no_pair():
    a = played("a", [(START, "go", 0), (LEFT, "x", 1)])
    b = played("b", [(START, "go", 0), (RIGHT, "y", 0)])
    assert pairs_from_episodes([a, b]) == []


def test_equal_pictures_are_one_observation_and_unequal_are_not():
    twin = Observation(START.text, (START.images[0].copy(),))
    other = Observation(START.text, (START.images[0] + 1,))
    a = played("a", [(START, "x", 1)])
    assert len(pairs_from_episodes([a, played("b", [(twin, "y", 0)])])) == 1
    assert pairs_from_episodes([a, played("b", [(other, "y", 0)])]) == []


def test_answers_of_two_modes_are_not_compared():
    a = episode("a", RNG, steps=(step(START, action=action("x", 1), reward=1.0),))
    b = episode("b", RNG, steps=(step(START, action=action("y", 2, mode="open")),))
    assert pairs_from_episodes([a, b]) == []


def test_broken_and_unmeasured_episodes_are_left_out():
    good = played("a", [(START, "x", 1)])
    broken = played("b", [(START, "y", 0)], stop=StopReason.ENV_ERROR)
    unmeasured = [played(f"{r}", [(START, "y", r)]) for r in (float("nan"), float("inf"))]
    assert pairs_from_episodes([good, broken, *unmeasured]) == []


def test_array_commands():
    a = episode("a", RNG, steps=(step(START, action=action("x", np.array([0.5, 1])), reward=1.0),))
    b = episode("b", RNG, steps=(step(START, action=action("y", np.array([0.5, 2]))),))
    c = episode("c", RNG, steps=(step(START, action=action("z", np.array([0.5, 1]))),))
    assert len(pairs_from_episodes([a, b])) == 1
    assert pairs_from_episodes([a, c]) == []


def test_undiscounted_return_of_the_infinite():
    inf = float("inf")
    for rewards, expected in (([inf, -inf], "nan"), ([1e308, 1e308], "inf"), ([float("nan")], "nan")):
        assert str(undiscounted_return(played("a", [(START, "x", r) for r in rewards]))) == expected


@pytest.mark.parametrize("rewards", [[], [0.1] * 10, [1e16, 1, -1e16]])
def test_undiscounted_return_is_exact(rewards):
    expected = {0: 0.0, 10: 1.0, 3: 1.0}[len(rewards)]
    assert undiscounted_return(played("a", [(START, "x", r) for r in rewards])) == expected
