"""check_world: a sound world is described, a broken one is told what is wrong and what to do."""

import pytest
from fake_actors import copycat, corridor

from envs.check import WorldReport, check_world
from envs.component import UserError
from envs.multimodal import WorldSettings

NAME = "world 'tests.envs.fake_worlds:Corridor-v0'"


def test_a_sound_world_is_described() -> None:
    report = check_world(corridor(max_steps=4, history=2), episodes=4)
    assert report == WorldReport(
        id="tests.envs.fake_worlds:Corridor-v0",
        prompt="<image>go right. Say: left, right, wait.",
        choices=("left", "right", "wait"),
        pictures=((4, 5, 3),),
        steps=report.steps,
        success=report.success,
    )
    assert all(1 <= steps <= 4 for steps in report.steps)


def test_random_play_is_not_in_step_with_the_world_s_own_draws() -> None:
    """Seeds of the player and the world are the same numbers: from one stream, random play would win every time."""
    report = check_world(copycat(length=3), episodes=12)
    assert report.steps == (3,) * 12
    assert report.success < 0.5


def test_an_open_world_may_be_sound() -> None:
    settings = {"id": "tests.envs.fake_worlds:Echo-v0", "success": {"info": "success"}, "max_steps": 3}
    assert check_world(WorldSettings.model_validate(settings)).choices is None


def test_changing_choices_may_be_sound() -> None:
    settings = {"id": "tests.envs.fake_worlds:Doors-v0", "success": {"info": "success"}, "max_steps": 9}
    assert check_world(WorldSettings.model_validate(settings)).steps


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            "float picture",
            f"{NAME}: picture image0 is declared as Box(0.0, 255.0, (4, 5, 3), float32). Declare it as "
            "Box(0, 255, (height, width, 3), numpy.uint8).",
        ),
        (
            "raises in step",
            f"{NAME} raised RuntimeError: the floor gave way (seed 0, step STEP, 'right'). Mend the env: whatever is "
            "said to it, it must answer with finite rewards.",
        ),
        (
            "blank",
            f"{NAME}: picture 0 is one flat colour in every observation: there is nothing to see. Check the env's "
            "drawing, or leave the picture out.",
        ),
        (
            "no success",
            "success.info is 'success': the last info of an episode of 'tests.envs.fake_worlds:Corridor-v0' has no "
            "such key. There are: at. Name one of these, or use return_at_least.",
        ),
        (
            "twin texts",
            f"{NAME}: the action text 'left' can't be read back from 'LEFT': another one is too like it. Reword it.",
        ),
        ("spaced text", f"{NAME}: the action text 'left ' is empty or has space around it. Remove the space."),
        ("one text", f"{NAME} offers ('left',): there is nothing to decide. Offer 2 or more actions."),
        (
            "remembers",
            f"{NAME}: two episodes of seed 2 with the same answers differ at reset. Draw everything from "
            "self.np_random, after super().reset(seed=seed), and keep nothing from the episode before.",
        ),
    ],
)
def test_a_broken_world_is_told_what_to_do(broken: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_world(corridor(broken=broken, max_steps=30))
    told = str(caught.value)
    for step in range(2, 30):
        told = told.replace(f"step {step},", "step STEP,")
    assert told == message


def test_gymnasium_s_checker_speaks_through_ours() -> None:
    with pytest.raises(UserError) as caught:
        check_world(corridor(broken="unseeded"))
    assert str(caught.value).startswith(f"{NAME} fails Gymnasium's checker: AssertionError: ")
    assert str(caught.value).endswith("check again with gymnasium.utils.env_checker.check_env.")


def test_what_is_shown_must_be_what_is_declared() -> None:
    with pytest.raises(UserError, match=r"outside what it declares|fails Gymnasium's checker"):
        check_world(corridor(broken="wrong shape"))


@pytest.mark.parametrize("broken", ["nan", "infinite cost"])
def test_rewards_and_costs_are_finite(broken: str) -> None:
    with pytest.raises(UserError, match="both must be finite numbers"):
        check_world(corridor(broken=broken))


def test_a_world_without_an_end_needs_a_limit() -> None:
    with pytest.raises(UserError) as caught:
        check_world(corridor(broken="endless"), episodes=1)
    assert str(caught.value) == (
        f"{NAME} did not end within 1000 steps (seed 0). Set max_steps, or register it with max_episode_steps."
    )
    assert check_world(corridor(broken="endless", max_steps=7), episodes=1).steps == (7,)
