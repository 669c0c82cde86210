"""What is read off a lived episode: by hand, only against what was remembered before, and kept to the last bit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from envs.types import Episode, Observation, StopReason
from memory.database import Database
from memory.store import ReplayMemory
from schedules.lived import Lived, lived_of, pack_centre, unpack_centre
from tests.memory.making import episode, step


class Angles:
    """A text that is a number of degrees, as a vector of two numbers; its length says nothing."""

    version, dimension = "angles", 2

    def embed(self, observations: Sequence[Observation]) -> np.ndarray:
        radians = np.radians([float(o.text) for o in observations])
        return np.stack([3 * np.cos(radians), 3 * np.sin(radians)], axis=1).astype(np.float32)


def of(name: str, *degrees: float, **changes: object) -> Episode:
    steps = tuple(step(Observation(str(d))) for d in degrees)
    return episode(name, np.random.default_rng(0), **{"steps": steps, "success": True, **changes})


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[ReplayMemory]:
    with Database(tmp_path / "run.db") as database:
        yield ReplayMemory(database, Angles())


def lived(memory: ReplayMemory, one: Episode, regimes: Sequence[str] = ("goto",), before: int = 1) -> Lived | None:
    vectors = Angles().embed([s.observation for s in one.steps]) if one.steps else np.zeros((0, 2), np.float32)
    return lived_of(7, one, vectors, memory, "slot", regimes, before)


def test_by_hand(memory: ReplayMemory) -> None:
    """0 degrees is remembered. Steps at 0 and 60: distances 0 and 1/2, mean 1/4; centre (1 + 1/2, 0 + sin 60) / 2."""
    memory.add([of("a", 0)])
    told = lived(memory, of("b", 0, 60))
    assert told is not None
    assert (told.number, told.episode, told.task, told.reward) == (7, "b", "slot", 1.0)
    assert told.novelty == pytest.approx(0.25, abs=1e-6)
    np.testing.assert_allclose(told.centre, [0.75, 3**0.5 / 4], atol=5e-4)
    failed = lived(memory, of("c", 0, success=False))
    assert failed is not None
    assert failed.reward == 0.0


def test_only_earlier_cycles_of_the_slot_count(memory: ReplayMemory) -> None:
    memory.add([of("old", 0), of("now", 90, cycle=1), of("other", 90, task="cards")])
    changed = of("b", 90, cycle=1)
    told = lived(memory, changed)
    assert told is not None
    assert told.novelty == pytest.approx(1, abs=1e-6), "neither the changed world of this cycle nor another slot's"
    wider = lived(memory, changed, ["goto", "cards"])
    assert wider is not None
    assert wider.novelty == pytest.approx(0.5, abs=1e-6), "the mean of the two that are there"


def test_nothing_to_compare_with_is_none_and_not_new(memory: ReplayMemory) -> None:
    told = lived(memory, of("b", 0))
    assert told is not None
    assert told.novelty is None
    assert told.centre is not None
    memory.add([of("a", 0, cycle=3)])
    assert (again := lived(memory, of("b", 0))) is not None
    assert again.novelty is None


def test_a_broken_world_says_nothing(memory: ReplayMemory) -> None:
    memory.add([of("a", 0)])
    assert lived(memory, of("b", 0, stop=StopReason.ENV_ERROR)) is None
    assert lived(memory, of("c")) is None


def test_a_centre_is_kept_to_the_last_bit(memory: ReplayMemory) -> None:
    for degrees in np.random.default_rng(0).uniform(0, 360, (20, 3)).tolist():
        told = lived(memory, of("b", *degrees))
        assert told is not None
        assert told.centre is not None
        packed = pack_centre(told.centre)
        assert len(packed) == 4
        again = unpack_centre(packed)
        assert again.dtype == told.centre.dtype == np.float32
        np.testing.assert_array_equal(again, told.centre)
