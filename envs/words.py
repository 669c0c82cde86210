"""A Gymnasium space of texts with any characters."""

import string
from typing import Any

from gymnasium import spaces

LONGEST_TEXT = 100_000


class Words(spaces.Text):
    """Texts up to `LONGEST_TEXT` characters of any script (`Text` refuses spaces, and lists its characters one by one).

    Args:
        samples: what `sample` draws from, so that Gymnasium's checker says something the world can read.
    """

    def __init__(self, samples: tuple[str, ...] = ()) -> None:
        super().__init__(LONGEST_TEXT, min_length=0, charset=string.printable)
        self.samples = samples

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text of bearable length."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """One of `samples`; a short random text where there are none."""
        if self.samples:
            return self.samples[int(self.np_random.integers(len(self.samples)))]
        return super().sample((8, None) if mask is None else mask, probability)
