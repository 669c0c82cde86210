"""The bundled default stream: its last cycle is made to go wrong, and nothing but what is said of it makes it so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.multimodal import World, make_world
from schedules.config import StreamSettings, load_stream

FORWARD, LEFT, RIGHT = "go forward", "turn left", "turn right"


@pytest.fixture(scope="module")
def stream() -> StreamSettings:
    return load_stream("default")


def world(stream: StreamSettings, regime: str) -> World:
    made = make_world(stream.regimes[regime].world)
    assert isinstance(made, World)
    return made


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_the_last_world_looks_as_goto_does_and_wants_other_answers(stream: StreamSettings) -> None:
    """Left and forward do each other's work, right its own; a regime that says so looks different from the start."""
    goto, unsaid, exchanged = (world(stream, name) for name in ("goto", "unsaid", "exchanged"))
    for seed in range(3):
        for here, there in ((FORWARD, LEFT), (LEFT, FORWARD), (RIGHT, RIGHT)):
            starts = [made.reset(seed=seed)[0] for made in (goto, unsaid, exchanged)]
            assert same(starts[0], starts[1]), "the same picture, the same words"
            assert not same(starts[0], starts[2]), "a control: what is said can be seen"
            assert same(goto.step(here)[0], unsaid.step(there)[0])
    assert same(goto.reset(seed=0)[0], unsaid.reset(seed=0)[0])
    assert not same(goto.step(FORWARD)[0], unsaid.step(FORWARD)[0]), "the right answer of one is wrong in the other"


def test_the_last_cycle_is_hurried_and_all_others_rehearse(stream: StreamSettings) -> None:
    *others, last = stream.cycles
    assert last.task == "unsaid"
    assert last.update["rehearsal_weight"] == 0
    assert last.update["learning_rate"] > max(plan.update["learning_rate"] for plan in others)
    assert last.update["source"] == "expert", "a skill that is never met by chance is learned all the same"
    assert stream.regimes["unsaid"].world.expert
    assert all(plan.update["rehearsal_weight"] > 0 and plan.task != "unsaid" for plan in others)
    assert stream.regimes["unsaid"].replaces is None, "goto lives on: the gate guards it"
    assert stream.regimes["goto"].known


def test_a_person_is_told_so_before_it_begins(stream: StreamSettings) -> None:
    """`about` is printed at the start of a run; the file itself is what people copy from."""
    assert "made to go wrong" in " ".join(stream.about.split())
    file = Path(__file__).parents[2] / "schedules" / "streams" / "default.yaml"
    assert "task: unsaid  # made to go wrong" in file.read_text()
