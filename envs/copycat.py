"""The identity world: a word is said or a colour shown; say it back. Optimum 1, chance 1/n: for quick proofs."""

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.component import UserError
from envs.words import Words

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (240, 220, 50),
    "purple": (150, 50, 200),
    "orange": (250, 140, 20),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}
SIDE = 56
MARGIN = 8
GREY = 128


class Copycat(gymnasium.Env[dict[str, Any], Any]):
    """Say back the word. Each right answer pays 1 / length; success is all of them right.

    Args:
        words: what is said; in the modes with a picture, colours of `COLOURS`.
        mode: where the word stands: in the `text`, in the `picture` (then the text alone gives chance), or in `both`.
        length: answers an episode, each to a new word.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        words: tuple[str, ...] = ("red", "green", "blue", "yellow"),
        mode: Literal["text", "picture", "both"] = "text",
        length: int = 1,
        render_mode: None = None,
    ) -> None:
        unknown = [word for word in words if word not in COLOURS]
        if mode not in ("text", "picture", "both"):
            raise UserError(f"mode is {mode!r}: Copycat knows text, picture and both.")
        if mode != "text" and unknown:
            raise UserError(f"words has {unknown[0]!r}: a picture can show {', '.join(COLOURS)}. Use those.")
        if len(words) < 2 or length < 1:
            raise UserError(f"Copycat has {len(words)} words and length {length}: give 2 or more words, length >= 1.")
        self.render_mode = render_mode
        self.action_texts = tuple(words)
        self.action_space = spaces.Discrete(len(words))
        picture = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.observation_space = spaces.Dict({"image": picture, "text": Words()})
        self._mode, self._length = mode, length
        self._word = self._asked = self._right = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the first word."""
        super().reset(seed=seed, options=options)
        self._asked = self._right = 0
        return self._next(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Mark one answer."""
        right = int(action) == self._word
        self._asked += 1
        self._right += right
        over = self._asked >= self._length
        return self._next(), right / self._length, over, False, {"success": self._right == self._length}

    def expert(self) -> int:
        """The word itself."""
        return self._word

    def _next(self) -> dict[str, Any]:
        self._word = int(self.np_random.integers(len(self.action_texts)))
        word = self.action_texts[self._word]
        image = np.full((SIDE, SIDE, 3), GREY, dtype=np.uint8)
        inner = slice(MARGIN, SIDE - MARGIN)
        image[inner, inner] = COLOURS[word] if self._mode != "text" else GREY // 2
        text = "Which colour is this?" if self._mode == "picture" else f"The word is {word}."
        return {"image": image, "text": text}


gymnasium.register(id="Copycat-v0", entry_point="envs.copycat:Copycat")
