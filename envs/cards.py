"""Two worlds with figures instead of a grid: NumberLine (after RL4VLM, arXiv 2405.10292) and Higher.

The sides of the answer alternate with the seed, so that over any even stretch of seeds a constant answer is right half
of the time. The drawing is reusable: everything is 3x5 glyphs and 8x8 suit signs.
"""

from functools import lru_cache
from typing import Any, Literal

import gymnasium
import numpy as np

from envs.component import UserError
from envs.words import Words

SIDE = 56  # pixels a side
RANKS = ("2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K", "A")
SUITS = ("hearts", "diamonds", "clubs", "spades")
PLUS, MINUS = range(2)
LEFT, RIGHT = range(2)
RULES = ("higher", "lower", "mixed")

_GLYPHS = {  # five rows of three bits
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", "J": "11157", "Q": "75571", "K": "55655", "A": "25755",
}  # fmt: skip
_SIGNS = {  # eight rows of eight bits
    "hearts": "66ffffff7e3c1800",
    "diamonds": "183c7effff7e3c18",
    "clubs": "3c3c18dbffdb183c",
    "spades": "183c7effffdb183c",
}
_INK = {"hearts": (210, 30, 30), "diamonds": (210, 30, 30), "clubs": (10, 10, 10), "spades": (10, 10, 10)}
_TARGET, _CURRENT = (30, 70, 150), (80, 80, 80)  # panels behind the two numbers


# -- drawing ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _glyph(letter: str, scale: int) -> np.ndarray:
    rows = [[int(bit) for bit in f"{int(row):03b}"] for row in _GLYPHS[letter]]
    return np.kron(np.array(rows), np.ones((scale, scale))).astype(bool)


@lru_cache(maxsize=8)
def _sign(suit: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(_SIGNS[suit]), dtype=np.uint8)).reshape(8, 8).astype(bool)


def _stamp(canvas: np.ndarray, mask: np.ndarray, top: int, left: int, colour: tuple[int, int, int]) -> None:
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = colour


def _write(canvas: np.ndarray, text: str, top: int, left: int, colour: tuple[int, int, int]) -> None:
    """One or two letters in a field of 24 by 24 pixels."""
    scale = 4 if len(text) == 1 else 3
    width = 3 * scale
    start = left + (24 - len(text) * width - 2 * (len(text) - 1)) // 2
    for i, letter in enumerate(text):
        _stamp(canvas, _glyph(letter, scale), top + (24 - 5 * scale) // 2, start + i * (width + 2), colour)


def draw_numbers(left: int, right: int) -> np.ndarray:
    """Two numbers from 0 to 9 on a blue and a grey panel: uint8 `[56, 56, 3]`."""
    canvas = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for number, x, panel in ((left, 0, _TARGET), (right, 32, _CURRENT)):
        canvas[16:40, x : x + 24] = panel
        _write(canvas, str(number), 16, x, (255, 255, 255))
    return canvas


def draw_cards(left: tuple[str, str], right: tuple[str, str]) -> np.ndarray:
    """Two playing cards, each (rank, suit), on a green table: uint8 `[56, 56, 3]`."""
    canvas = np.full((SIDE, SIDE, 3), (0, 90, 40), dtype=np.uint8)
    for (rank, suit), x in ((left, 0), (right, 32)):
        canvas[8:52, x : x + 24] = 245
        _write(canvas, rank, 8, x, _INK[suit])
        _stamp(canvas, _sign(suit), 40, x + 8, _INK[suit])
    return canvas


# -- the worlds -------------------------------------------------------------------------------------------------------


class Figures(gymnasium.Env[dict[str, Any], np.int64]):
    """What the worlds of figures share: their spaces, and a side that alternates with the seed."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_texts: tuple[str, ...]

    def __init__(self) -> None:
        pixels = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(image=pixels, text=Words())
        self.action_space = gymnasium.spaces.Discrete(len(self.action_texts))

    def draw(self, seed: int | None) -> int:
        """The number that decides what must come out even over consecutive seeds."""
        return int(self.np_random.integers(1 << 30)) if seed is None else seed


class NumberLine(Figures):
    """Bring the right number to the left one, one by one, in as many steps as they are apart: every one must be right.

    Args:
        least: smallest start distance, 1 to 9; at 2, a coin wins one episode in eleven.
        most: largest start distance, `least` to 9.
    """

    WANTED = "bring the right number to the left number"
    action_texts = ("+", "-")

    def __init__(self, least: int = 2, most: int = 9) -> None:
        if not 1 <= least <= 9:
            raise UserError(f"least is {least}: two numbers from 0 to 9 are 1 to 9 apart. Set it to 1..9.")
        if not least <= most <= 9:
            raise UserError(f"most is {most}: with least {least}, numbers start {least} to 9 apart. Set it so.")
        super().__init__()
        self.pairs = [(low, high) for low in range(10) for high in range(low + least, min(low + most, 9) + 1)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """Two numbers; the target is the larger one at even seeds."""
        super().reset(seed=seed)
        low, high = self.pairs[int(self.np_random.integers(len(self.pairs)))]
        self.target, self.current = (high, low) if self.draw(seed) % 2 == 0 else (low, high)
        self.distance = self.left = high - low
        return self._observe(), {"success": False, "potential": self._potential()}

    def step(self, action: np.int64 | int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Add or take away one. Each right step pays its share of the way; success is all of it.

        A wrong step goes on, though nothing can be won any more: both signs are met equally often, whatever is played.
        """
        right = int(action) == self.expert()
        self.current = min(9, max(0, self.current + (1 if int(action) == PLUS else -1)))
        self.left -= 1
        success = self.current == self.target
        info = {"success": success, "potential": self._potential()}
        return self._observe(), right / self.distance, success, self.left == 0 and not success, info

    def expert(self) -> int:
        """The sign that brings the numbers together."""
        return PLUS if self.target > self.current else MINUS

    def _potential(self) -> float:
        return -abs(self.target - self.current) / 10

    def _observe(self) -> dict[str, Any]:
        return {"image": draw_numbers(self.target, self.current), "text": self.WANTED}


class Higher(Figures):
    """Two cards; say which one wins under the rule that the text names. One step.

    Args:
        rule: `higher` or `lower` card wins, or `mixed`: drawn anew for each episode, so that the words matter.
    """

    WANTED = "the {} card wins"
    action_texts = ("left", "right")

    def __init__(self, rule: Literal["higher", "lower", "mixed"] = "mixed") -> None:
        if rule not in RULES:
            raise UserError(f"rule is {rule!r}: take one of {', '.join(RULES)}.")
        super().__init__()
        self.rule = rule

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """Two cards of different rank; the left one wins at even seeds."""
        super().reset(seed=seed)
        draw = self.draw(seed)
        low, high = sorted(self.np_random.choice(len(RANKS), 2, replace=False).tolist())
        suits = self.np_random.choice(len(SUITS), 2, replace=False)
        self.winner = LEFT if draw % 2 == 0 else RIGHT
        self.named = self.rule if self.rule != "mixed" else RULES[draw // 2 % 2]
        left, right = (high, low) if (self.winner == LEFT) == (self.named == "higher") else (low, high)
        self.image = draw_cards((RANKS[left], SUITS[suits[0]]), (RANKS[right], SUITS[suits[1]]))
        return self._observe(), {"success": False}

    def step(self, action: np.int64 | int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Name a side. Reward 1 when it wins."""
        success = int(action) == self.winner
        return self._observe(), float(success), True, False, {"success": success}

    def expert(self) -> int:
        """The side that wins."""
        return self.winner

    def _observe(self) -> dict[str, Any]:
        return {"image": self.image.copy(), "text": self.WANTED.format(self.named)}


gymnasium.register("NumberLine-v0", entry_point="envs.cards:NumberLine")
gymnasium.register("Higher-v0", entry_point="envs.cards:Higher")
