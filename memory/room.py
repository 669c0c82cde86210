"""How much room the memory takes, and which episodes must go for it to be within its bounds.

Bytes are counted by content and not by SQLite's pages, so that a run that was stopped and resumed counts the same: the
episodes' rows and vectors, and each picture once, whoever shows it. The pages that hold them are some percent more.
"""

from collections.abc import Callable

import numpy as np

from memory.catalogue import View
from memory.database import Database
from memory.retention import Retention, guarded

MEGABYTE = 1_000_000


def picture_bytes(database: Database) -> int:
    """Of all pictures, each once; those that only pairs show count too."""
    return database.execute("SELECT coalesce(sum(length(data)), 0) FROM picture_data").fetchone()[0]


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
    fewer episodes as their mean size calls for. Nothing is left if the pictures of pairs alone are too many.

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
