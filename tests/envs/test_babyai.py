"""GoTo: MiniGrid's own pixels and verifier, an instruction that matters, an expert without memory that wins."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.core.world_object import Ball, Box
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.wrappers import RGBImgPartialObsWrapper

from envs.babyai import GoTo, Level
from envs.component import UserError
from envs.rooms import (
    COLOURS,
    FORWARD,
    KINDS,
    LEFT,
    RIGHT,
    Layout,
    moved,
    right_action,
    right_actions,
    sees,
    steps_to_go,
)


class Drawn(Level):
    """The same level with MiniGrid's own symbolic view."""

    gen_obs = RoomGridLevel.gen_obs


def play(policy, seeds, **options):
    """Share of episodes won."""
    env, won = GoTo(**options), 0
    for seed in seeds:
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(policy(env))
            over = terminated or truncated
        won += info["success"]
    return won / len(seeds)


def test_gymnasium_accepts_it_and_a_seed_repeats():
    env = gymnasium.make("envs.babyai:GoTo-v0").unwrapped
    check_env(env)
    assert env.action_texts == ("turn left", "turn right", "go forward")
    other = GoTo()
    other.reset(seed=5)
    for seed in range(20):
        first, again = env.reset(seed=seed)[0], other.reset(seed=seed)[0]
        assert first["text"] == again["text"]
        assert np.array_equal(first["image"], again["image"])


@pytest.mark.parametrize("room_size", [5, 6])
def test_pixels_are_those_of_minigrids_own_wrapper(room_size):
    rng = np.random.default_rng(0)
    for seed in range(25):
        ours = Level(room_size, 3, KINDS, COLOURS)
        theirs = RGBImgPartialObsWrapper(Drawn(room_size, 3, KINDS, COLOURS), tile_size=8)
        mine, drawn = ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0]
        for action in rng.integers(3, size=15):
            assert np.array_equal(mine["image"], drawn["image"])
            assert mine["text"] == drawn["mission"]
            mine, drawn = ours.step(int(action))[0], theirs.step(int(action))[0]


@pytest.mark.parametrize("options", [{}, {"objects": 2, "room_size": 5}, {"objects": 4}, {"kinds": ("ball",)}])
def test_the_expert_without_memory_always_wins(options):
    assert play(GoTo.expert, range(150), **options) == 1.0


def test_who_does_not_listen_loses():
    """A constant, a coin, and a walker to the nearest thing in sight, which is any of three."""

    def nearest(env):
        room = env.level
        ways = [
            (steps_to_go(room.layout, t)[room.pose], t)
            for t in range(3)
            if sees(room.layout, room.pose, t) and steps_to_go(room.layout, t).get(room.pose, 0)
        ]
        return right_action(room.layout, room.pose, min(ways)[1]) if ways else LEFT

    rng = np.random.default_rng(0)
    seeds = range(300)
    assert max(play(lambda e, a=a: a, seeds) for a in (LEFT, RIGHT, FORWARD)) < 0.2
    assert play(lambda e: int(rng.integers(3)), seeds) < 0.3
    assert play(nearest, seeds) < 0.5


def cornered():
    """From the north-west corner: a red box to the south, a red ball two steps east; the blue ball is asked for."""
    layout = Layout(6, ((3, 1), (1, 2), (4, 4)), (("ball", "red"), ("box", "red"), ("ball", "blue")))
    env = GoTo()
    env.reset(seed=0)
    level = env.level
    for cell in level.layout.cells:
        level.grid.set(*cell, None)
    for cell, thing in zip(layout.cells, (Ball("red"), Box("red"), Ball("blue")), strict=True):
        level.grid.set(*cell, thing)
    level.layout, level.target, level.agent_pos, level.agent_dir = layout, 2, (1, 1), 0
    level.instrs.desc.obj_poss = [(4, 4)]
    return env


def test_potential_is_a_tenth_of_the_shortest_way():
    """To the red ball: turned away two steps, then one. To the blue one there is no way: forward walks up to a wrong
    thing, so the whole budget counts."""
    env = cornered()
    assert env.step(RIGHT)[4]["potential"] == -env.budget / 10
    env.level.target = 0
    assert [env.step(action)[4]["potential"] for action in (RIGHT, LEFT, LEFT)] == [-0.3, -0.2, -0.1]
    _, told = env.reset(seed=3)
    assert told["potential"] == -steps_to_go(env.level.layout, env.level.target)[env.level.pose] / 10


def test_a_wrong_thing_walked_up_to_fails_and_one_turned_to_does_not():
    env = cornered()
    _, reward, terminated, truncated, info = env.step(RIGHT)  # the box is in front now
    assert not terminated
    assert not info["success"]
    env.step(LEFT)
    _, reward, terminated, truncated, info = env.step(FORWARD)  # the red ball is in front now
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)


def test_right_actions_follow_the_shortest_way_and_turn_left_until_it_is_seen():
    """Agent in the north-west corner looking east: ball two ahead, key to the south, box out of sight behind a turn."""
    layout = Layout(6, ((4, 1), (1, 3), (2, 4)), (("ball", "red"), ("key", "red"), ("box", "blue")))
    assert right_actions(layout, (1, 1, 0)) == [FORWARD, RIGHT, FORWARD]
    assert right_action(layout, (1, 1, 3), 1) == LEFT  # looking north: nothing of it in view
    assert moved(layout, (1, 2, 1), FORWARD) == (1, 2, 1)  # the key is in the way
    assert steps_to_go(layout, 0)[(1, 1, 0)] == 2


def test_budget_ends_it_as_truncated():
    env = GoTo(slack=0)
    env.reset(seed=1)
    for step in range(1, env.budget + 1):
        _, _, terminated, truncated, info = env.step(LEFT)
        assert (terminated, truncated) == (False, step == env.budget)
    assert not info["success"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"room_size": 8}, "room_size is 8"),
        ({"objects": 5}, "objects is 5"),
        ({"kinds": ("door",)}, "kinds is"),
        ({"colours": ()}, "colours is"),
        ({"slack": -1}, "slack is -1"),
    ],
)
def test_options_out_of_range_name_the_remedy(options, said):
    with pytest.raises(UserError, match=said):
        GoTo(**options)
