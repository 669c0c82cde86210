"""Short episodes and a maker of pairs, for tests of where pairs come from.

A move is (observation, command, reward); a command of a closed step is a place among CHOICES.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.pairs import PairMaker, PairSettings
from envs.types import Choices, Episode, Observation
from memory.preferences import PreferencePair
from tests.memory.making import CHOICES, action, episode, step

RNG = np.random.default_rng(0)
START = Observation("<image>start", (np.zeros((2, 2, 3), np.uint8),))
LEFT, RIGHT = Observation("left room"), Observation("right room")
Move = tuple[Observation, int, float]
Told = list[tuple[str, str, str, float]]


def played(name: str, *moves: Move, info: dict[str, Any] | None = None, **changes: Any) -> Episode:
    steps = tuple(
        step(seen, action=action(CHOICES[command], command, -0.25), reward=reward, info=info or {})
        for seen, command, reward in moves
    )
    return episode(name, RNG, steps=steps, **changes)


def maker(*sources: str, **settings: Any) -> PairMaker:
    return PairSettings.model_validate({"sources": sources, **settings}).build(encode)


def encode(text: str, choices: Choices) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def told(pairs: Sequence[PreferencePair]) -> Told:
    return [(p.observation.text, p.chosen.text, p.rejected.text, p.margin) for p in pairs]
