"""What is drawn for rehearsal: one strategy a file.

A module defines `Config` (settings and `build()`); what it builds has `draw(view, like, count, rng) -> numbers`:
episodes of `view` that hold about `count` steps together, each once, in the order drawn. It may return less.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from envs.types import Observation
from memory.catalogue import View


class Recall(Protocol):
    """A strategy of what to rehearse."""

    def draw(self, view: View, like: Sequence[Observation], count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of episodes, int64, that hold `count` steps or more if the view does.

        Args:
            like: observations of what goes wrong now; may be empty.
        """
        ...
