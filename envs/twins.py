"""Twins: two pictures and one question, which of them shows the thing that is named. One step.

Seeds 2k and 2k + 1 are one question about the same two pictures, exchanged. So whatever is answered from the text
alone is right exactly half of the time over such pairs. From the pictures alone it is half in the mean, since either
thing is as likely to be the named one.
"""

from typing import Any

import gymnasium
import numpy as np

from envs.rooms import THINGS, TILE, VIEW, lone, picture, tiles
from envs.words import Words


class Twins(gymnasium.Env[dict[str, Any], np.int64]):
    """Say whether the first or the second room holds the named thing. Reward 1 when it does.

    The other room's thing has the same kind or the same colour, so one word of the name is not enough.
    """

    ASKED = "is the {} {} first or second?"
    metadata = {"render_modes": []}  # noqa: RUF012
    action_texts = ("first", "second")

    def __init__(self) -> None:
        pixels = gymnasium.spaces.Box(0, 255, (VIEW * TILE, VIEW * TILE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(image0=pixels, image1=pixels, text=Words())
        self.action_space = gymnasium.spaces.Discrete(len(self.action_texts))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """Two rooms; the named thing is in the first at even seeds."""
        super().reset(seed=None if seed is None else seed // 2)
        self.side = int(self.np_random.integers(2)) if seed is None else seed % 2
        kind, colour = named = THINGS[int(self.np_random.integers(len(THINGS)))]
        near = [thing for thing in THINGS if (thing[0] == kind) != (thing[1] == colour)]
        other = near[int(self.np_random.integers(len(near)))]
        shown = [picture(tiles(*lone(thing, self.np_random))) for thing in (named, other)]
        self.pictures = shown if self.side == 0 else shown[::-1]
        self.text = self.ASKED.format(colour, kind)
        return self._observe(), {"success": False}

    def step(self, action: np.int64 | int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Name one of the two."""
        success = int(action) == self.side
        return self._observe(), float(success), True, False, {"success": success}

    def expert(self) -> int:
        """Where the named thing is."""
        return self.side

    def _observe(self) -> dict[str, Any]:
        first, second = self.pictures
        return {"image0": first.copy(), "image1": second.copy(), "text": self.text}


gymnasium.register("Twins-v0", entry_point="envs.twins:Twins")
