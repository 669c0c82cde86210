"""Views of a memory that strategies are shown, without a memory."""

import numpy as np

from memory.catalogue import View


def view(strata, length=None, seen=None, priority=None, near=None, drift=None, gain=None, points=None):
    """Episodes numbered from 10; `near` is the order in which they resemble any query, by hundredths of a cosine."""
    n = len(strata)
    rng = np.random.default_rng(0)

    def vectors_of(numbers):
        if points is not None:
            return np.array(points, np.float32)[numbers - 10]
        return np.stack([np.full(4, number, np.float32) for number in numbers])

    def nearest(some, queries, count):
        order = some.places(np.array(near or range(10, 10 + n), np.int64))
        places = some.first(order, count)
        return places, 0.99 - np.arange(len(places), dtype=np.float32) / 100, np.arange(len(places)) % len(queries)

    return View(
        numbers=np.arange(10, 10 + n),
        strata=np.array(strata, np.int64),
        success=np.array(strata) % 2 == 1,
        cycle=np.zeros(n, np.int64),
        length=np.array(length if length is not None else [1] * n, np.int64),
        gain=rng.normal(size=n) if gain is None else np.array(gain),
        priority=rng.random(n) if priority is None else np.array(priority),
        seen=np.array(seen if seen is not None else [0] * n, np.int64),
        uses=np.zeros(n, np.int64),
        drift=np.array(drift if drift is not None else [0] * n, np.float64),
        bytes=np.full(n, 100),
        tasks=("goto", "renamed", "cards", "points"),
        vectors_of=vectors_of,
        nearest_in=nearest,
    )
