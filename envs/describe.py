"""Describe: say in own words what is to be seen. People like different wordings; the world scores all of them.

About a red ball, `full` likes "red ball" and `brief` likes "ball". What was said gets the share of words, in order,
that it has in common with the liked wording, of the longer of the two; 0 if it names what isn't there.

| said | full | brief |
| --- | --- | --- |
| red ball | 1 | 1/2 |
| ball | 1/2 | 1 |
| a red ball | 2/3 | 1/3 |
| ball red | 1/2 | 1/2 |
| red | 1/2 | 0 |
| blue ball, or nothing at all | 0 | 0 |
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import gymnasium
import numpy as np

from envs.actions import fold
from envs.component import UserError
from envs.rooms import COLOURS, KINDS, THINGS, TILE, VIEW, lone, picture, tiles
from envs.words import Words

PREFERENCES = ("full", "brief")
NAMES = (*KINDS, *(f"{colour} {kind}" for kind, colour in THINGS))
"""How a thing may be named: by its kind alone, or by colour and kind."""


class Describe(gymnasium.Env[dict[str, Any], str]):
    """A room with one thing in it; anything may be said, once. Success is the very wording that is liked.

    `info` has `liking` (every preference's score), and `present` and `absent`, which share out `NAMES`. Case and
    punctuation don't count. A constant answer wins at most one episode in 18 under `full`, and one in 3 under `brief`.

    Args:
        likes: whose score is the reward, and whose wording the expert's: `full` or `brief`. Neither picture nor words
            tell which.
    """

    ASKED = "what is the thing?"
    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, likes: Literal["full", "brief"] = "full") -> None:
        if likes not in PREFERENCES:
            raise UserError(f"likes is {likes!r}: take one of {', '.join(PREFERENCES)}.")
        self.likes = likes
        pixels = gymnasium.spaces.Box(0, 255, (VIEW * TILE, VIEW * TILE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(image=pixels, text=Words())
        self.action_space = Words(NAMES)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """A new thing in a new place."""
        super().reset(seed=seed)
        self.kind, self.colour = THINGS[int(self.np_random.integers(len(THINGS)))]
        self.image = picture(tiles(*lone((self.kind, self.colour), self.np_random)))
        return self._observe(), {"success": False}

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Hear a description."""
        said = fold(action).split()
        wrong = {*KINDS, *COLOURS} - {self.kind, self.colour}
        true = wrong.isdisjoint(said)
        liking = {who: in_common(said, wording) if true else 0.0 for who, wording in self._liked().items()}
        present = [self.kind, f"{self.colour} {self.kind}"]
        info = {
            "success": liking[self.likes] == 1,
            "liking": liking,
            "present": present,
            "absent": [name for name in NAMES if name not in present],
        }
        return self._observe(), liking[self.likes], True, False, info

    def expert(self) -> str:
        """The wording that is liked."""
        return " ".join(self._liked()[self.likes])

    def _liked(self) -> dict[str, list[str]]:
        return {"full": [self.colour, self.kind], "brief": [self.kind]}

    def _observe(self) -> dict[str, Any]:
        return {"image": self.image.copy(), "text": self.ASKED}


def in_common(said: Sequence[str], liked: Sequence[str]) -> float:
    """Length of the longest common subsequence of words, as a share of the longer text: 0..1, and 1 only if equal.

    Example:
        >>> in_common(["a", "red", "ball"], ["red", "ball"])
        0.6666666666666666
    """
    best = [0] * (len(liked) + 1)  # best[i]: with the first i liked words, and the words said so far
    for word in said:
        for i in range(len(liked), 0, -1):
            if word == liked[i - 1]:
                best[i] = best[i - 1] + 1
        best = list(accumulate(best, max))
    return best[-1] / max(len(said), len(liked))


gymnasium.register("Describe-v0", entry_point="envs.describe:Describe")
