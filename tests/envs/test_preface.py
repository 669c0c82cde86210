"""What is put in front of a question is recorded as it was seen, and can be taken off again.

Off, nothing differs: the plain run is the oracle of every world part.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_actors import Scripted, copycat, corridor, reply, same, tickets

from envs.collect import WorldPool, collect
from envs.flight import Flight
from envs.preface import FRONT, Asked, Prefaced, front, own
from envs.settings import Success
from envs.stage import Shown
from envs.types import Episode, Observation

GREY = np.full((2, 2, 3), 7, np.uint8)


def told(one: Asked) -> Prefaced:
    """A picture and words in front that say whose question it is."""
    seen = one.observation
    text = f"<image>{one.ticket.id} asks {one.step}: {seen.text}"
    return Prefaced(Observation(text, (GREY, *seen.images)), ("a", "b"))


def play(
    preface: Callable[[Sequence[Asked]], list[Prefaced]] | None, width: int = 64
) -> tuple[list[Episode], list[Any]]:
    """Two worlds, answered by what stands at the end; and everything the actor was asked."""
    asked: list[Observation] = []

    def script(observation: Observation) -> str:
        asked.append(observation)
        return observation.text.rstrip(".").split()[-1] if "word" in observation.text else "right"

    pool = WorldPool({"words": copycat(length=3), "corridor": corridor()})
    some = [*tickets("words", 5), *tickets("corridor", 5)]
    return collect(Scripted(script), some, pool, width, preface=preface), asked


def test_a_step_records_what_the_actor_saw_and_the_worlds_part_is_its_end() -> None:
    plain, _ = play(None)
    episodes, asked = play(lambda some: [told(one) for one in some])
    assert {id(step.observation) for e in episodes for step in e.steps} == {id(observation) for observation in asked}
    for episode, bare in zip(episodes, plain, strict=True):
        assert [s.observation.text.split(": ")[0] for s in episode.steps] == [
            f"<image>{episode.id} asks {i}" for i in range(len(episode.steps))
        ]
        for step in episode.steps:
            assert step.info[FRONT]["episodes"] == ["a", "b"]
            assert step.observation.text.count("<image>") == len(step.observation.images) == 1 + len(own(step).images)
        off = [
            replace(s, observation=own(s), info={k: v for k, v in s.info.items() if k != FRONT}) for s in episode.steps
        ]
        assert same(replace(episode, steps=tuple(off)), bare)


def test_with_nothing_in_front_not_a_bit_differs() -> None:
    plain, asked = play(None, width=3)
    episodes, too = play(lambda some: [Prefaced(one.observation) for one in some], width=3)
    assert all(map(same, plain, episodes))
    assert [o.text for o in asked] == [o.text for o in too]
    assert not any(FRONT in step.info for e in (*plain, *episodes) for step in e.steps)
    assert all(own(step) is step.observation for e in plain for step in e.steps)


@pytest.mark.parametrize(
    "seen",
    [
        Observation("Now: go on", (GREY,)),  # behind it, not in front
        Observation("go", (GREY.copy(),)),  # another picture
        Observation("go"),  # none
        Observation("o", (GREY,)),
    ],
)
def test_a_preface_that_changes_the_worlds_own_part_is_refused(seen: Observation) -> None:
    world = Observation("go", (GREY,))
    assert front(Prefaced(Observation("Now: go", (GREY, GREY))), world)[FRONT]["text"] == 5
    with pytest.raises(ValueError, match="leave the world's own"):
        front(Prefaced(seen), world)


def test_a_world_can_not_say_where_its_part_begins() -> None:
    """Info of that name is not kept: it would cut what was seen."""
    flight = Flight(0, tickets("t", 1)[0], Success(info="success"), "v")
    info = {"command": 1, "readable": True, "cost": 0.0, FRONT: {"text": 2, "pictures": 0, "episodes": []}, "more": 1}
    flight.take(Shown(Observation("hello"), ("go",)))
    flight.say(Prefaced(flight.ask().observation), reply("go"))
    flight.take(Shown(Observation("bye"), ("go",), reward=1.0, terminated=False, truncated=False, info=info))
    assert flight.steps[0].info == {"more": 1}
    assert own(flight.steps[0]).text == "hello"
