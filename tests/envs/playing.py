"""Playing native worlds without a model, and reading their pictures."""

from collections.abc import Callable, Iterable
from typing import Any

import gymnasium
import numpy as np

from envs.rooms import FIRST_THING, THINGS, TILE, VIEW, atlas


def play(env: gymnasium.Env[Any, Any], policy: Callable[[Any], Any], seeds: Iterable[int]) -> float:
    """Share of episodes won."""
    won = []
    for seed in seeds:
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(policy(env))
            over = terminated or truncated
        won.append(info["success"])
    return float(np.mean(won))


def things_in(image: np.ndarray) -> list[tuple[str, str]]:
    """Every thing in a picture of a room, tile by tile against the atlas."""
    squares = image.reshape(VIEW, TILE, VIEW, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    same = (squares[:, None] == atlas()[None, FIRST_THING:]).all(axis=(2, 3, 4))
    return [THINGS[int(found)] for found in np.argwhere(same)[:, 1]]
