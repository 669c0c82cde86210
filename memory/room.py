"""Which episodes must go for the memory to be within its bounds, by count and by bytes."""

from collections.abc import Callable

import numpy as np

from memory.catalogue import View
from memory.database import Database
from memory.paging import MEGABYTE, picture_bytes
from memory.retention import Retention, guarded


def make_room(
    look: Callable[[], View],
    evict: Callable[[np.ndarray], None],
    retention: Retention,
    capacity: int,
    database: Database,
    capacity_mb: float | None,
    rng: np.random.Generator,
) -> int:
    """Evict until there are no more than `capacity` episodes and, if it is bounded, `capacity_mb` megabytes.

    What an eviction frees is known only afterwards, since pictures are shared: it is repeated, each time with as many
    fewer episodes as their mean size calls for. Pairs of an evicted episode, and their pictures, are expected to go
    with it; if the pictures of pairs that name no episode are too many alone, no episode is left.

    Returns:
        How many were evicted.
    """
    count = 0
    while True:
        view = look()
        most = min(capacity, len(view))
        if capacity_mb is not None and len(view):
            used = int(view.bytes.sum()) + picture_bytes(database)
            most = min(most, len(view) * int(capacity_mb * MEGABYTE) // max(1, used))
        if most >= len(view):
            return count
        gone = view.without(guarded(retention, view, most, rng)).numbers if most else view.numbers
        evict(gone)
        count += len(gone)
        if capacity_mb is None:
            return count
