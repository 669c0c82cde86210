"""The nearest remembered steps, of some episodes only: looked for further until enough of them are among those."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from memory.vectors import Vectors

T = TypeVar("T")


def widened(
    vectors: Vectors, queries: np.ndarray, k: int, pick: Callable[[np.ndarray, np.ndarray], tuple[T, bool]]
) -> T:
    """What `pick` makes of the nearest steps of each query: of the `k` nearest, or of more until it says: enough.

    Args:
        pick: given steps int64 `[n, m]` by number and cosines float32 `[n, m]`, says what it found, and if that will
            do; what it makes of all steps there are has to.
    """
    total = len(vectors)
    while True:
        found, enough = pick(*vectors.search(queries, k))
        if enough or k >= total:
            return found
        k *= 4
