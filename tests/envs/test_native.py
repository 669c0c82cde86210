"""What a world may tell beyond its reward: the expert's answer, a potential, what is there, who likes what.

- The expert is asked about the observation that was answered, and speaks as the agent must under every drift.
- A potential is told before and after, also where nothing moved, and never leaks from the episode before.
"""

import re
from typing import Any

import pytest
from fake_actors import Scripted, started, tickets

from envs.check import check_world
from envs.collect import WorldPool, collect
from envs.component import UserError
from envs.multimodal import WorldSettings, make_world


def settings_of(world_id: str, **more: Any) -> WorldSettings:
    return WorldSettings.model_validate({"id": world_id, "success": {"info": "success"}, "expert": True, **more})


def guided(**more: Any) -> WorldSettings:
    return settings_of("tests.envs.fake_worlds:Guided-v0", **more)


@pytest.mark.parametrize(
    ("drift", "text"),
    [
        ([], "right"),
        ([{"type": "controls", "exchange": ["left", "right"]}], "left"),
        ([{"type": "renamed", "names": {"right": "east"}}], "east"),
        ([{"type": "renamed", "names": {"left": "right", "right": "left"}}], "left"),
        (
            [
                {"type": "renamed", "names": {"right": "east"}},
                {"type": "controls", "exchange": ["east", "wait"]},
                {"type": "controls", "exchange": ["wait", "left"]},
            ],
            "left",
        ),
    ],
)
def test_the_expert_says_what_the_agent_would_have_to_say(drift: list[dict], text: str) -> None:
    """Said back to the world, it reaches the env as its action 1."""
    world = started(guided(drift=drift))
    assert world.step("no answer")[4]["expert"] == text
    told = world.step(text)[4]
    assert told["expert"] == text
    assert world.unwrapped.commands == [1]  # type: ignore[attr-defined]


def test_the_expert_is_asked_before_the_env_moves_on() -> None:
    """Two words to say back: each step tells the word that was asked, not the next one."""
    world = make_world(settings_of("envs.copycat:Copycat-v0", kwargs={"length": 20}))
    seen, _ = world.reset(seed=0)
    asked, told = [], []
    for _ in range(20):
        asked.append(re.search(r"The word is (\w+)", seen["text"]).group(1))  # type: ignore[union-attr]
        seen, *_, info = world.step("red")
        told.append(info["expert"])
    assert told == asked
    assert len(set(asked)) > 1


def test_nobody_is_asked_unless_wanted() -> None:
    world = started(guided(expert=False))
    assert "expert" not in world.step("right")[4]


@pytest.mark.parametrize("name", ["Corridor-v0", "Raw-v0"])
def test_a_world_without_an_expert_is_refused(name: str) -> None:
    """A foreign env's own expert counts its own actions, so it is none here."""
    settings = settings_of(f"tests.envs.fake_worlds:{name}")
    if name == "Raw-v0":
        settings = settings.with_(instruction="do it", actions={"this": 0, "that": 4})
    with pytest.raises(UserError) as caught:
        make_world(settings)
    assert str(caught.value) == (
        f"expert is true, but world 'tests.envs.fake_worlds:{name}' does not know the right action. Set expert: false, "
        "or give the env a method expert() that returns it (see envs.native)."
    )


def test_an_expert_s_action_needs_a_text() -> None:
    """The corridor's fourth action is its no-op, which can't be said."""
    world = started(guided(kwargs={"right": 3}))
    with pytest.raises(ValueError, match=r"^the expert's action is 3, which has no text: there are 3$"):
        world.step("right")


def test_a_potential_is_told_before_and_after() -> None:
    world = make_world(guided())
    assert world.reset(seed=0)[1]["potential"] == -3
    steps = [world.step(text)[4] for text in ("right", "mumble", "left", "right", "right")]
    pairs = [(info["potential_before"], info["potential"]) for info in steps]
    assert pairs == [(-3, -2), (-2, -2), (-2, -3), (-3, -2), (-2, -1)]
    world.reset(seed=1)
    assert world.step("right")[4]["potential_before"] == -3


def test_a_potential_must_be_finite() -> None:
    world = started(guided(kwargs={"told": {"potential": float("nan")}}))
    with pytest.raises(ValueError, match=r"^the world gave potential nan: it must be a finite number$"):
        world.step("right")


def test_what_was_told_is_kept_with_the_step() -> None:
    told = {"present": ["wall"], "absent": ["door"], "liking": {"calm": 0.5}}
    pool = WorldPool({"walk": guided(kwargs={"told": told})})
    (episode,) = collect(Scripted(lambda _: "right"), tickets("walk", 1), pool)
    pool.close()
    assert [dict(step.info) for step in episode.steps] == [
        {
            "success": at == 3, "at": at, "expert": "right", "potential_before": float(at - 4), "potential": at - 3,
            **told,
        }
        for at in (1, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"present": "wall"}, "info['present'] is 'wall'. Make it a list of names."),
        ({"absent": [1]}, "info['absent'] is [1]. Make it a list of names."),
        ({"liking": {"calm": "much"}}, "info['liking'] is {'calm': 'much'}. Make it a mapping: preference -> number"),
        ({"liking": {"calm": float("inf")}}, "is {'calm': inf}. Make it a mapping"),
        ({"present": ["wall"], "absent": ["wall"]}, " calls 'wall' present and absent at once. Name each thing in one"),
    ],
)
def test_what_is_told_in_a_wrong_form_is_named(told: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_world(guided(kwargs={"told": told}))


CLOSED = {
    "envs.babyai:GoTo-v0": ("turn left", "turn right"),
    "envs.cards:NumberLine-v0": ("+", "-"),
    "envs.cards:Higher-v0": ("left", "right"),
    "envs.copycat:Copycat-v0": ("red", "green"),
    "envs.hazard:Hazard-v0": ("+", "-"),
    "envs.ladder:Ladder-v0": ("+", "-"),
    "envs.twins:Twins-v0": ("first", "second"),
}


@pytest.mark.parametrize("kind", [None, "controls", "renamed"])
@pytest.mark.parametrize("world_id", CLOSED)
def test_the_experts_of_bundled_worlds_win_under_drift(world_id: str, kind: str | None) -> None:
    """An unreadable reply moves nothing here and is told the expert's answer: a question that is free."""
    first, second = CLOSED[world_id]
    example = {"controls": {"exchange": [first, second]}, "renamed": {"names": {first: second, second: first}}}
    drift = [{"type": kind, **example[kind]}] if kind else []
    world = make_world(settings_of(world_id, drift=drift))
    for seed in range(12):
        world.reset(seed=seed)
        over = False
        while not over:
            right = world.step("what now?")[4]["expert"]
            *_, terminated, truncated, info = world.step(right)
            over = terminated or truncated
        assert info["success"]
        assert info["cost"] == 0
