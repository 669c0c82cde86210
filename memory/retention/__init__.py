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
    places = view.places(numbers)
    if len(numbers) > capacity or len(np.unique(numbers)) < len(numbers) or len(places) < len(numbers):
        raise UserError(
            f"memory.retention: {type(strategy).__module__} kept {len(numbers)} episodes that are not at most "
            f"{capacity} of those it was shown, each once. Mend its keep(), or use type: balanced."
        )
    kept = np.zeros(len(view), np.bool_)
    kept[places] = True
    for stratum in np.setdiff1d(view.strata, view.strata[kept]):
        if kept.sum() >= capacity:
            counts = np.bincount(view.strata[kept])
            if counts.max() < 2:
                break
            largest = np.flatnonzero(kept & (view.strata == np.argmax(counts)))
            kept[largest[np.argmin(view.priority[largest])]] = False
        members = np.flatnonzero(view.strata == stratum)
        kept[members[np.argmax(view.priority[members])]] = True
    return view.numbers[kept]
