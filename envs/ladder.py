"""Ladder: one task in four difficulties, for curricula. Words and rules are the number line's; the way gets longer."""

from typing import Any

import gymnasium
import numpy as np

from envs.cards import NumberLine
from envs.component import UserError

LEVELS = {1: (1, 1), 2: (2, 3), 3: (4, 6), 4: (7, 9)}
"""Level -> smallest and largest distance."""


class Ladder(NumberLine):
    """`NumberLine` at one of four levels. A constant answer wins half at each; a coin 50, 19, 4 and 0.6 %.

    Args:
        level: 1 to 4.
    """

    def __init__(self, level: int = 1) -> None:
        if level not in LEVELS:
            raise UserError(f"level is {level}: the ladder has {len(LEVELS)} rungs. Set it to 1..{len(LEVELS)}.")
        super().__init__(*LEVELS[level])

    def step(self, action: np.int64 | int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """As on the number line, but steps used up are a loss: one too few on the first rung is no limit in time."""
        seen, reward, won, spent, info = super().step(action)
        return seen, reward, won or spent, False, info


gymnasium.register("Ladder-v0", entry_point="envs.ladder:Ladder")
