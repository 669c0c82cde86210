"""What stays when memory is full: one strategy a file.

A module defines `Config` (settings and `build()`); what it builds has `keep(view, capacity, rng) -> numbers`: at most
`capacity` of `view.numbers`, each once. Whatever a strategy says, `guarded` sees to it that no (task, success) stratum
vanishes while another keeps two episodes.
"""

from typing import Protocol

import numpy as np

from envs.component import UserError
from memory.catalogue import View


class Retention(Protocol):
    """A strategy of what to keep."""

    def keep(self, view: View, capacity: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of the episodes that stay, int64; called only when there are more than `capacity` (1 or more)."""
        ...


def guarded(strategy: Retention, view: View, capacity: int, rng: np.random.Generator) -> np.ndarray:
    """What `strategy` keeps, checked, with the best episode of each stratum it forgot in place of surplus ones.

    Raises:
        UserError: the strategy broke its contract.
    """
    numbers = np.asarray(strategy.keep(view, capacity, rng), np.int64)
    if len(numbers) > capacity or len(np.unique(numbers)) < len(numbers) or not np.isin(numbers, view.numbers).all():
        raise UserError(
            f"memory.retention: {type(strategy).__module__} kept {len(numbers)} episodes that are not at most "
            f"{capacity} of those it was shown, each once. Mend its keep(), or use type: balanced."
        )
    kept = np.isin(view.numbers, numbers)
    for stratum in np.setdiff1d(view.strata, view.strata[kept]):
        if kept.sum() >= capacity:
            codes, counts = np.unique(view.strata[kept], return_counts=True)
            if counts.max() < 2:
                break
            largest = np.flatnonzero(kept & (view.strata == codes[np.argmax(counts)]))
            kept[largest[np.argmin(view.priority[largest])]] = False
        members = np.flatnonzero(view.strata == stratum)
        kept[members[np.argmax(view.priority[members])]] = True
    return view.numbers[kept]
