"""Controls on worlds whose every answer is known: what looks like skill without seeing or listening is found out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from envs.multimodal import WorldSettings
from envs.types import Observation, Reply
from schedules.controls import Coin, Constant, Controls, controls, said


def world(id_: str, **more: Any) -> WorldSettings:
    return WorldSettings.model_validate({"id": id_, "success": {"info": "success"}, **more})


def copycat(mode: str) -> WorldSettings:
    return world("envs.copycat:Copycat-v0", kwargs={"words": ["red", "green"], "mode": mode})


class Reader:
    """Says the choice that stands in the text before `Say:`; else looks at the picture's middle; else the first."""

    version = "reader"

    def act(self, observations: Sequence[Observation], choices: Sequence[Any], rngs: Sequence[Any]) -> list[Reply]:
        return [said(self.answer(o, c)) for o, c in zip(observations, choices, strict=True)]

    def answer(self, observation: Observation, choices: tuple[str, ...]) -> str:
        heard = observation.text.split("Say:")[0]
        named = [choice for choice in choices if choice in heard]
        red, green, _ = observation.images[-1][28, 28].tolist()
        return named[0] if named else choices[int(green > red)]


def examined(settings: WorldSettings, episodes: int = 64) -> Controls:
    return controls(Reader(), {"task": settings}, episodes, 32)[0]


def test_where_the_word_is_said_the_deaf_fail_and_the_blind_do_not() -> None:
    found = examined(copycat("text"))
    assert found.blind is not None
    assert found.deaf is not None
    assert found.blind.mean == 1.0
    assert found.deaf.mean < 0.7
    assert found.highest == 1.0


def test_where_the_colour_is_shown_the_blind_fail_and_no_one_is_deaf() -> None:
    """All episodes ask the same, so there is no instruction to miss."""
    found = examined(copycat("picture"))
    assert found.blind is not None
    assert found.blind.mean < 0.7
    assert found.deaf is None


def test_constants_share_what_there_is() -> None:
    """Every seed is won by exactly one of the two words; the blind of this policy say the first choice."""
    found = examined(copycat("picture"))
    assert set(found.constants) == {"red", "green"}
    assert sum(result.mean for result in found.constants.values()) == 1.0
    assert found.best_constant is not None
    assert found.best_constant[1].mean == max(result.mean for result in found.constants.values())
    assert found.blind is not None
    assert found.blind.success == found.constants["red"].success


def test_a_coin_is_fair() -> None:
    """Within 4 standard errors of a half."""
    found = examined(copycat("text"), episodes=256)
    assert found.coin is not None
    assert found.coin.mean == pytest.approx(0.5, abs=4 * 0.5 / 16)


def test_an_open_world_has_no_constants_and_one_without_pictures_no_blind() -> None:
    class Mute(Reader):
        def answer(self, observation: Observation, choices: Any) -> str:
            return "hello there"

    found = controls(Mute(), {"echo": world("tests.envs.fake_worlds:Echo-v0", max_steps=2)}, 8, 8)[0]
    assert (found.constants, found.coin, found.blind, found.best_constant) == ({}, None, None, None)
    assert found.deaf is not None
    assert found.deaf.mean == 1.0


def test_a_constant_says_what_it_may_where_its_text_is_not_offered() -> None:
    """`enter` first opens the door, which is the first choice there, then enters: it wins."""
    found = controls(Coin(), {"doors": world("tests.envs.fake_worlds:Doors-v0", max_steps=4)}, 8, 8)[0]
    assert {text: result.mean for text, result in found.constants.items()}["enter"] == 1.0
    rng = np.random.default_rng(0)
    (reply,) = Constant("enter").act([Observation("")], [("open", "knock")], [rng])
    assert reply.text == "open"
