"""A store on disk whose neighbours are compared with exact search over its table of vectors."""

import numpy as np

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.index import ExactIndex
from memory.store import MemorySettings, ReplayMemory

DIMENSION = 16
ROUNDING = 5e-4


def opened(path, capacity=1000):
    database = Database(path)
    return database, ReplayMemory(database, HashEmbedder(DIMENSION), MemorySettings(capacity=capacity))


def expected(database, query, k):
    """What exact search over the table of vectors says: (episode id, step, similarity)."""
    index = ExactIndex(DIMENSION)
    for number, data in database.execute("SELECT episode, data FROM vectors"):
        rows = np.frombuffer(data, np.float16).astype(np.float32).reshape(-1, DIMENSION)
        index.add((number << 20) + np.arange(len(rows)), rows)
    steps, near = index.search(query[None], k)
    names = dict(database.execute("SELECT number, id FROM episodes"))
    return [(names[s >> 20], s & 0xFFFFF, v) for s, v in zip(steps[0].tolist(), near[0].tolist(), strict=True)]


def wrong_neighbours(database, memory, rng, rounding=0.0):
    """Of five queries those whose neighbours are not the true ones in their order, each as (found, true).

    Where lists round what they hold, others that are as near as the true ones do as well.
    """
    wrong = []
    for query in rng.normal(size=(5, DIMENSION)).astype(np.float32):
        found, truth = memory.search(query, 7), expected(database, query, 10**6)
        if not same(found, truth, rounding):
            wrong.append((found, truth[:7]))
    return wrong


def same(found, truth, rounding):
    """Whether these are the nearest of all that are there, with their own similarities."""
    near = {row[:2]: row[2] for row in truth}
    if len({row[:2] for row in found}) != min(7, len(truth)):
        return False
    if not rounding and [row[:2] for row in found] != [row[:2] for row in truth[:7]]:
        return False
    told = [row[2] for row in found]
    own, best = [near[row[:2]] for row in found], [row[2] for row in truth[:7]]
    return np.allclose(own, told, atol=1e-5 + rounding) and np.allclose(told, best, atol=1e-5 + rounding)
