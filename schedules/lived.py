"""A lived episode as the few numbers that drift is seen in; they can be stored, and watched once more."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from envs.types import Episode, StopReason
from memory.novelty import FURTHEST
from memory.store import ReplayMemory

NEIGHBOURS = 8


@dataclass(frozen=True, slots=True)
class Lived:
    """One lived episode.

    Attributes:
        number: it is the how manieth of the whole life, from 1.
        episode: its id.
        task: the slot in which it was lived: its world may drift, its name stays.
        reward: 1 for a success and 0 for none, or a return of that order.
        novelty: mean over its steps of the mean distance (1 - cosine) to the nearest remembered ones, 0..2; None where
            nothing is remembered to compare with.
        centre: mean of its steps' unit vectors, float32 `[dimension]` with the precision of float16; None without one.
    """

    number: int
    episode: str
    task: str
    reward: float
    novelty: float | None = None
    centre: np.ndarray | None = None


def lived_of(
    number: int,
    episode: Episode,
    vectors: np.ndarray,
    memory: ReplayMemory,
    slot: str,
    regimes: Collection[str],
    before_cycle: int,
) -> Lived | None:
    """What drift is seen in; None for an episode that the world broke or that has no steps: it says nothing.

    Compared is only with earlier cycles: else a changed world would be usual as soon as a few episodes of it are
    remembered, and an episode that is remembered already would be compared with itself.

    Args:
        vectors: float32 `[steps, dimension]` of the memory's embedder, which may be handed to `ReplayMemory.add` too.
        slot: where it was lived.
        regimes: names under which episodes of this slot are remembered: what was before the drift must be among them.
        before_cycle: memory of cycles before this one counts.
    """
    if episode.stop is StopReason.ENV_ERROR or not episode.steps:
        return None
    distances = memory.novelty(vectors, NEIGHBOURS, regimes, before_cycle)
    novelty = None if distances.min() >= FURTHEST else float(distances.mean(dtype=np.float64))
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    centre = (vectors / np.maximum(lengths, 1e-12)).mean(axis=0)
    return Lived(number, episode.id, slot, float(episode.success), novelty, unpack_centre(pack_centre(centre)))


def pack_centre(centre: np.ndarray) -> bytes:
    """As little-endian float16; of a `Lived` nothing is lost."""
    return centre.astype("<f2").tobytes()


def unpack_centre(data: bytes) -> np.ndarray:
    """The inverse of `pack_centre`: float32 `[dimension]`."""
    return np.frombuffer(data, "<f2").astype(np.float32)
