"""The bundled default stream: its second cycle is made to go wrong, and nothing but what is said of it makes it so."""

from pathlib import Path

import pytest

from schedules.config import StreamSettings, load_stream

HURRIED = 1
"""Its place among the cycles, from 0."""


@pytest.fixture(scope="module")
def stream() -> StreamSettings:
    return load_stream("default")


def test_the_second_cycle_is_hurried_and_all_others_rehearse(stream: StreamSettings) -> None:
    hurried = stream.cycles[HURRIED]
    others = [plan for place, plan in enumerate(stream.cycles) if place != HURRIED]
    assert hurried.update["rehearsal_weight"] == 0
    assert hurried.update["learning_rate"] > 2 * max(plan.update["learning_rate"] for plan in others)
    assert all(plan.update["rehearsal_weight"] > 0 for plan in others)


def test_the_next_cycle_learns_the_same_with_memory(stream: StreamSettings) -> None:
    assert stream.cycles[HURRIED + 1].task == stream.cycles[HURRIED].task


def test_who_could_be_forgotten_is_guarded(stream: StreamSettings) -> None:
    assert stream.gate.on
    assert stream.regimes["goto"].known
    assert all(regime.replaces is None for regime in stream.regimes.values())


def test_an_expert_is_there_for_it_to_clone(stream: StreamSettings) -> None:
    assert stream.cycles[HURRIED].update["source"] == "expert"
    assert stream.regimes[stream.cycles[HURRIED].task].world.expert


def test_a_person_is_told_so_before_it_begins(stream: StreamSettings) -> None:
    """`about` is printed at the start of a run; the file itself is what people copy from."""
    assert "second cycle is made to go wrong" in " ".join(stream.about.split())
    file = Path(__file__).parents[2] / "schedules" / "streams" / "default.yaml"
    assert "task: renamed  # made to go wrong" in file.read_text()
