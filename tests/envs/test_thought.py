"""A thought before the action: any text may be said, and the action stands at its end. Templates frame what is told."""

import pytest
from fake_actors import Scripted, corridor, started, tickets
from pydantic import ValidationError

from envs.actions import behind_thought
from envs.check import check_world
from envs.collect import WorldPool, collect
from envs.multimodal import make_world

ASK = "{text} Think between <think> and </think>, then act."


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<think>left? no: right</think>right", "right"),
        ("one</think>left</think> right", " right"),
        ("right", "right"),
        ("<think>right", "<think>right"),
        ("right</think>", ""),
    ],
)
def test_what_is_behind_the_last_mark_counts(text: str, action: str) -> None:
    assert behind_thought(text, "</think>") == action


@pytest.mark.parametrize(
    ("said", "readable"),
    [("<think>left</think> Right.", True), ("right", True), ("right</think>", False), ("I think: right", False)],
)
def test_the_world_hears_the_action_alone(said: str, readable: bool) -> None:
    world = started(corridor(thought="</think>", prompt=ASK))
    *_, info = world.step(said)
    assert info["readable"] == readable
    assert info["command"] == (1 if readable else None)


def test_any_mark_will_do() -> None:
    world = started(corridor(thought="Action:"))
    *_, info = world.step("Thought: the lamp is right of me.\nAction: right")
    assert (info["command"], info["readable"]) == (1, True)


def test_before_a_thought_the_set_is_open_and_still_told() -> None:
    world = make_world(corridor(thought="</think>", prompt=ASK))
    seen, _ = world.reset(seed=0)
    assert world.choices() is None
    assert world.observe(seen).text == (
        "<image>go right. Say: left, right, wait. Think between <think> and </think>, then act."
    )


def test_what_is_remembered_is_the_action_and_the_template_frames_it_all() -> None:
    world = make_world(corridor(history=2, thought="</think>", prompt="You walk.\n{text}\nAct."))
    world.reset(seed=0)
    seen, *_ = world.step("<think>a long story</think>right")
    observation = world.observe(seen)
    assert observation.text == "You walk.\n<image>right\n<image>go right. Say: left, right, wait.\nAct."
    assert len(observation.images) == 2


@pytest.mark.parametrize("prompt", ["no words of the world", "{text} and {text}", "<image>{text}"])
def test_a_template_holds_the_world_s_words_once(prompt: str) -> None:
    with pytest.raises(ValidationError, match=r"write \{text\} once"):
        corridor(prompt=prompt)


def test_episodes_are_open_and_won() -> None:
    settings = corridor(thought="</think>")
    check_world(settings)
    pool = WorldPool({"walk": settings})
    thinker = Scripted(lambda _: "<think>left would be wrong</think>right")
    (episode,) = collect(thinker, tickets("walk", 1), pool)
    pool.close()
    assert episode.success
    actions = [step.action for step in episode.steps]
    assert all(step.choices is None for step in episode.steps)
    assert {action.text for action in actions} == {"<think>left would be wrong</think>right"}
