"""Foreign worlds by settings alone; and what is refused, in which words."""

import numpy as np
import pytest
from fake_actors import started
from gymnasium.utils.env_checker import check_env
from pydantic import ValidationError

from envs.component import UserError
from envs.multimodal import WorldSettings, make_world

LAKE = {
    "id": "FrozenLake-v1",
    "kwargs": {"is_slippery": False},
    "instruction": "Reach the gift",
    "actions": {"left": 0, "down": 1, "right": 2, "up": 3},
    "image": "render",
    "success": {"return_at_least": 1},
}
POLE = {
    "id": "CartPole-v1",
    "instruction": "Keep the pole up",
    "actions": {"left": 0, "right": 1},
    "image": "render",
    "success": {"return_at_least": 100},
}


def test_frozen_lake_is_played_by_settings_alone() -> None:
    world = make_world(WorldSettings.model_validate(LAKE))
    seen, _ = world.reset(seed=0)
    observation = world.observe(seen)
    assert observation.text == "<image>Reach the gift. Say: left, down, right, up."
    assert observation.images[0].dtype == np.uint8
    assert observation.images[0].shape[2] == 3
    outcomes = [world.step(text) for text in ("down", "down", "Right", "right", "down", "right")]
    assert [reward for _, reward, *_ in outcomes] == [0, 0, 0, 0, 0, 1]
    assert outcomes[-1][2:4] == (True, False)
    assert world.settings.success.holds([reward for _, reward, *_ in outcomes], {})


@pytest.mark.parametrize("settings", [LAKE, POLE], ids=lambda row: row["id"])
def test_foreign_worlds_pass_gymnasium_s_checker(settings: dict) -> None:
    check_env(make_world(WorldSettings.model_validate(settings)), skip_render_check=True)


def test_foreign_worlds_drift_like_native_ones() -> None:
    drift = [{"type": "controls", "exchange": ["down", "right"]}]
    world = make_world(WorldSettings.model_validate({**LAKE, "drift": drift}))
    seen, _ = world.reset(seed=0)
    assert seen["text"] == "<image>Reach the gift. Down and right are exchanged. Say: left, down, right, up."
    outcomes = [world.step(text) for text in ("right", "right", "down", "down", "right", "down")]
    assert outcomes[-1][1] == 1.0


def test_box_actions_are_given_as_lists() -> None:
    settings = {
        "id": "Pendulum-v1", "instruction": "swing up", "actions": {"push left": [-2], "push right": [2.0]},
        "success": {"return_at_least": -200},
    }  # fmt: skip
    world = started(WorldSettings.model_validate(settings))
    assert world.step("push right")[4]["command"] == 1
    assert world.observe(world.step("push left")[0]).images == ()


# What is refused, and in which words.


def refusal(data: dict) -> str:
    with pytest.raises(UserError) as caught:
        make_world(WorldSettings.model_validate(data))
    return str(caught.value)


def test_foreign_mistakes_are_named() -> None:
    assert refusal({**LAKE, "actions": None}) == (
        "actions is missing: world 'FrozenLake-v1' has no words of its own (its actions: Discrete(4)). "
        "Add, for example, actions: {left: 0, right: 1}."
    )
    assert refusal({**LAKE, "instruction": None}) == (
        "instruction is missing: world 'FrozenLake-v1' has no words of its own (its actions: Discrete(4)). "
        "Add, for example, instruction: reach the goal."
    )
    assert refusal({**LAKE, "actions": {"left": 0, "fly": 4}}) == (
        "actions.fly is 4: not in the action space of 'FrozenLake-v1', Discrete(4). Give each text one of its actions."
    )
    assert refusal({**LAKE, "image": "observation"}) == (
        "image is 'observation': world 'FrozenLake-v1' gives int64 () there, not a uint8 [H, W, 3] picture. "
        "Set image: render, observation, or a key of its Dict observation."
    )
    native = {"id": "tests.envs.fake_worlds:Corridor-v0", "success": {"info": "success"}}
    assert refusal({**native, "instruction": "hurry"}) == (
        "instruction is set, but world 'tests.envs.fake_worlds:Corridor-v0' brings its own. "
        "Remove it; drift can reword a world."
    )


def test_worlds_that_cannot_be_found_are_named() -> None:
    rule = {"success": {"info": "success"}}
    assert refusal({"id": "envs.copycat:Copcat-v0", **rule}) == (
        "no world 'Copcat-v0' in envs.copycat. Did you mean 'Copycat-v0'?"
    )
    assert refusal({"id": "FrozenLake-v0", **rule}) == "no world 'FrozenLake-v0'. Did you mean 'FrozenLake-v1'?"
    assert refusal({"id": "zzzzzz", **rule}) == (
        "no world 'zzzzzz'. Write MODULE:ID, with the module that registers it."
    )
    assert refusal({"id": "no_such.module:A-v0", **rule}) == (
        "world 'no_such.module:A-v0': there is no module 'no_such.module'. "
        "Install its package, or put its file in the stream's folder."
    )


def test_a_module_that_does_not_import_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crooked_world.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert refusal({"id": "crooked_world:A-v0", "success": {"info": "x"}}) == (
        "world 'crooked_world:A-v0': importing 'crooked_world' failed with ZeroDivisionError: division by zero. "
        "Mend the module."
    )


def test_kwargs_the_env_refuses_are_named() -> None:
    text = refusal({"id": "envs.copycat:Copycat-v0", "kwargs": {"lenth": 2}, "success": {"info": "success"}})
    assert text.startswith("world 'envs.copycat:Copycat-v0' can't be made with kwargs {'lenth': 2}: TypeError: ")
    assert text.endswith("Give it the settings its own documentation names.")


def invalid(data: dict) -> str:
    with pytest.raises(ValidationError) as caught:
        WorldSettings.model_validate(data)
    return str(caught.value.errors()[0]["msg"])


def test_a_world_that_cannot_be_examined_is_refused_at_load() -> None:
    assert invalid({"id": "envs.copycat:Copycat-v0"}) == (
        "Value error, success is missing: without it nothing can be examined, so no cycle could be judged. Add "
        "success: {info: KEY} (a key that is true at the end of a won episode) or {return_at_least: NUMBER}."
    )
    one_of = "Value error, give one of {info: KEY} and {return_at_least: NUMBER}."
    assert invalid({"id": "x", "success": {}}) == one_of
    assert invalid({"id": "x", "success": {"info": "won", "return_at_least": 1}}) == one_of


def test_a_drift_s_mistakes_are_refused_at_load() -> None:
    rule = {"id": "x", "success": {"info": "won"}}
    assert invalid({**rule, "drift": [{"type": "palette", "channels": [0, 1, 1]}]}) == (
        "Value error, drift palette.channels: Value error, [0, 1, 1] is no change of order of [0, 1, 2]. "
        "Use, for example, [2, 0, 1] or [2, 1, 0]."
    )
    with pytest.raises(UserError, match=r"^no drift 'control'. Did you mean 'controls'\?$"):
        WorldSettings.model_validate({**rule, "drift": [{"type": "control"}]})
