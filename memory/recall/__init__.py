"""What is drawn for rehearsal, and why: one strategy a file.

A module defines `Config` (settings and `build()`); what it builds has `draw(view, like, count, rng) -> Drawn`:
episodes of `view` that hold about `count` steps together, each once, in the order drawn, with a reason for each. It may
draw less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.component import UserError
from memory.catalogue import View


@dataclass(frozen=True, slots=True)
class Failure:
    """A step of an episode that failed lately.

    Attributes:
        number: of the episode.
        vector: of the step's observation, float32 `[dimension]`.
    """

    number: int
    task: str
    vector: np.ndarray


@dataclass(frozen=True, slots=True)
class Drawn:
    """Episodes and the reasons for them.

    Attributes:
        numbers: int64 `[n]`.
        why: `n` reasons in words and numbers: `STRATEGY: REASON`, since they are counted by what stands first.
    """

    numbers: np.ndarray
    why: tuple[str, ...]

    def __add__(self, more: "Drawn") -> "Drawn":
        return Drawn(np.concatenate([self.numbers, more.numbers]), self.why + more.why)


NOTHING = Drawn(np.empty(0, np.int64), ())


class Recall(Protocol):
    """A strategy of what to rehearse."""

    def draw(self, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
        """Episodes that hold `count` steps or more if the view does.

        Args:
            like: what goes wrong now; may be empty.
        """
        ...


def checked(strategy: Recall, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
    """What `strategy` draws.

    Raises:
        UserError: the strategy broke its contract.
    """
    drawn = strategy.draw(view, like, count, rng)
    name = type(strategy).__module__
    if not isinstance(drawn, Drawn):
        raise UserError(
            f"memory.recall: draw() of {name} returned {type(drawn).__name__}. "
            "Let it return memory.recall.Drawn(numbers, why), or use type: uniform."
        )
    numbers = np.asarray(drawn.numbers, np.int64)
    if not len(numbers) == len(np.unique(numbers)) == len(view.places(numbers)) == len(drawn.why):
        raise UserError(
            f"memory.recall: {name} drew {len(numbers)} episodes with {len(drawn.why)} reasons, where each must be one "
            "of those it was shown, drawn once and with one reason. Mend its draw(), or use type: uniform."
        )
    return Drawn(numbers, drawn.why)
