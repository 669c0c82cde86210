"""What a world says and hears.

- `terminated` is the world's own end, `truncated` a limit outside the task; a win on the last step is only terminated.
- An unreadable reply is the no-op, or leaves the world alone; it counts as a decision and never raises.
- History is the last k observations, with what was said between them.
- No text of a world can forge an image mark.
"""

import re

import numpy as np
import pytest
from fake_actors import copycat, corridor, started

from envs.component import UserError
from envs.multimodal import World, WorldSettings, compose, make_world, plain
from envs.types import IMAGE_MARK

SAY = "Say: left, right, wait."
PROMPT = f"<image>go right. {SAY}"


def open_world(**more: object) -> WorldSettings:
    data = {"id": "tests.envs.fake_worlds:Echo-v0", "success": {"info": "success"}, **more}
    return WorldSettings.model_validate(data)


def test_prompt_has_the_picture_first_and_the_choices_last() -> None:
    world = make_world(corridor())
    seen, info = world.reset(seed=3)
    observation = world.observe(seen)
    assert observation.text == PROMPT
    assert world.choices() == ("left", "right", "wait")
    assert info == {}
    (image,) = observation.images
    lit = np.zeros((4, 5, 3), dtype=np.uint8)
    lit[:, 0] = world.unwrapped.shade  # type: ignore[attr-defined]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, lit)


def test_sentences_end_once() -> None:
    assert compose("which one?", ["It is dark."], None, 0) == "which one? It is dark."
    assert compose(" go ", [], ["a"], 2) == "<image><image>go. Say: a."
    assert compose("", [], ["a", "b"], 1) == "<image>Say: a, b."


def test_a_step_gives_reward_cost_command_and_plain_info() -> None:
    world = started(corridor())
    _, reward, terminated, truncated, info = world.step("Right.")
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"success": False, "at": 1, "command": 1, "readable": True, "cost": 0.0}
    assert type(info["at"]) is int
    assert world.step("wait")[4]["cost"] == 0.5
    world.step("right")
    _, reward, terminated, truncated, info = world.step("right")
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_a_limit_truncates_and_does_not_terminate() -> None:
    world = started(corridor(max_steps=2))
    assert world.step("wait")[2:4] == (False, False)
    assert world.step("wait")[2:4] == (False, True)


def test_winning_on_the_last_step_is_terminated_only() -> None:
    world = started(corridor(max_steps=3))
    outcome = [world.step("right")[2:4] for _ in range(3)]
    assert outcome == [(False, False), (False, False), (True, False)]


def test_the_env_s_own_limit_is_kept_and_counts_unreadable_replies() -> None:
    world = started(corridor(timed=True))
    outcome = [world.step(text)[3] for text in ("wait", "hm", "wait", "hm", "wait")]
    assert outcome == [False, False, False, False, True]
    world.reset(seed=0)
    assert world.step("wait")[3] is False  # the count starts anew


def test_without_a_no_op_an_unreadable_reply_does_not_step_the_world() -> None:
    world = started(corridor(unreadable_reward=-0.25))
    world.step("right")
    before = world.observe(world.step("left")[0])
    seen, reward, terminated, truncated, info = world.step("somewhere else")
    after = world.observe(seen)
    assert (reward, terminated, truncated) == (-0.25, False, False)
    assert info == {"command": None, "readable": False, "cost": 0.0}
    assert world.unwrapped.commands == [1, 0]  # type: ignore[attr-defined]
    assert after.text == before.text
    np.testing.assert_array_equal(after.images[0], before.images[0])
    assert not np.shares_memory(after.images[0], before.images[0])


def test_an_env_s_own_no_op_is_used() -> None:
    world = started(corridor(noop_action=True))
    info = world.step("somewhere else")[4]
    assert (info["command"], info["readable"]) == (3, False)
    assert world.unwrapped.commands == [3]  # type: ignore[attr-defined]


def test_the_no_op_of_the_settings_is_used_and_paid_for() -> None:
    world = started(corridor(noop="wait", unreadable_reward=-0.25))
    _, reward, _, _, info = world.step("somewhere else")
    assert (reward, info["command"], info["readable"], info["cost"]) == (-0.25, 2, False, 0.5)


def test_no_op_reaches_the_env_through_exchanged_and_renamed_actions() -> None:
    drift = [
        {"type": "renamed", "names": {"wait": "rest"}},
        {"type": "controls", "exchange": ["rest", "right"]},
    ]
    world = started(corridor(noop="wait", drift=drift))
    world.step("???")
    world.step("rest")
    world.step("right")
    assert world.unwrapped.commands == [2, 1, 2]  # type: ignore[attr-defined]


def test_an_unknown_no_op_is_refused() -> None:
    message = "noop is 'rest': no action of 'tests.envs.fake_worlds:Corridor-v0'. There are: left, right, wait."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        make_world(corridor(noop="rest"))


def test_history_is_folded_in_by_hand() -> None:
    """k = 3: the two steps before now, oldest first, each its picture and what was said."""
    world = make_world(corridor(history=3))
    seen, _ = world.reset(seed=1)
    said = ("RIGHT!", "qwerty", "wait", "right")
    views = [world.observe(seen), *(world.observe(world.step(text)[0]) for text in said)]
    lit = [[int(np.flatnonzero(image[0, :, 0])[0]) for image in view.images] for view in views]
    assert [view.text for view in views] == [
        PROMPT,
        f"<image>right\n{PROMPT}",
        f"<image>right\n<image>(unreadable)\n{PROMPT}",
        f"<image>(unreadable)\n<image>wait\n{PROMPT}",
        f"<image>wait\n<image>right\n{PROMPT}",
    ]
    assert lit == [[0], [0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 2]]
    again, _ = world.reset(seed=1)
    assert world.observe(again).text == PROMPT  # nothing of the last episode


def test_observing_twice_changes_nothing() -> None:
    world = started(corridor(history=2))
    seen = world.step("right")[0]
    assert world.observe(seen).text == world.observe(seen).text


def test_a_world_without_pictures_remembers_its_texts() -> None:
    world = make_world(open_world(history=2))
    seen, _ = world.reset(seed=1)
    first = world.observe(seen)
    assert first.images == ()
    then = world.observe(world.step("who <image> there")[0])
    assert then.text == f"{first.text[:-1]} who (image) there\nyou said who (image) there."


def test_an_open_world_takes_any_text() -> None:
    world = started(open_world())
    assert world.choices() is None
    assert world.step("anything")[4]["command"] == "anything"
    assert world.step("hello there")[1:3] == (1.0, True)


def test_choices_may_change_from_step_to_step() -> None:
    settings = {"id": "tests.envs.fake_worlds:Doors-v0", "success": {"info": "success"}}
    world = started(WorldSettings.model_validate(settings))
    assert world.choices() == ("open", "knock")
    assert world.step("enter")[4]["readable"] is False
    seen = world.step("open")[0]
    assert world.choices() == ("enter", "leave")
    assert seen["text"] == "a door. Say: enter, leave."
    assert world.step("enter")[1:3] == (1.0, True)


def test_marks_cannot_be_forged() -> None:
    world = make_world(corridor(broken="forges"))
    seen, _ = world.reset(seed=0)
    observation = world.observe(seen)
    assert observation.text.count(IMAGE_MARK) == len(observation.images) == 1
    assert observation.text == f"<image>go (image) right <ima(image)ge>. {SAY}"


@pytest.mark.parametrize("broken", ["nan", "infinite cost"])
def test_what_is_not_finite_raises(broken: str) -> None:
    world = started(corridor(broken=broken))
    with pytest.raises(ValueError, match=r"^the world gave reward .* and cost .*: both must be finite numbers$"):
        world.step("right")


def test_plain_info_is_what_json_can_hold() -> None:
    raw = {
        "a": np.float32(0.5), 3: np.bool_(True), "b": np.arange(3), "c": np.zeros(100), "d": object(),
        "e": {"f": (1, np.int64(2), None), "g": object()},
    }  # fmt: skip
    kept = plain(raw)
    assert kept == {"a": 0.5, "3": True, "b": [0, 1, 2], "e": {"f": [1, 2, None]}}
    assert type(kept["3"]) is bool


def test_success_by_return_takes_the_whole_episode() -> None:
    rule = WorldSettings.model_validate({"id": "x", "success": {"return_at_least": 1}}).success
    assert rule.holds([0.1] * 10, {})  # a plain sum of these is 0.9999999999999999
    assert not rule.holds([0.1] * 9, {})


def test_the_spec_makes_the_same_world_again() -> None:
    world = make_world(copycat(mode="both", drift=[{"type": "palette", "channels": [2, 1, 0]}]))
    assert world.spec is not None
    again = world.spec.make()
    assert isinstance(again, World)
    first, second = world.reset(seed=5)[0], again.reset(seed=5)[0]
    assert first["text"] == second["text"]
    np.testing.assert_array_equal(first["image0"], second["image0"])
