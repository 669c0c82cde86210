"""Does the vector index say what the vectors in SQLite say? Held against exact search, on a sample."""

import numpy as np

from memory.parts import Parts
from memory.schema import STEP_BITS
from memory.unit_vectors import unit, unpack_vectors

SAMPLE = 64  # steps whose neighbours are looked up
NEAREST = 10
RECALL = 0.9  # of exact search; an exact index reaches 1
CLOSE = 1e-3  # two cosines that are the same but for rounding
_CHUNK = 1024  # episodes read at once


def index_troubles(parts: Parts) -> list[str]:
    """What is wrong with the index and its file, in words; the vectors themselves must be sound."""
    troubles = []
    if parts.vectors.file_state() == "doubtful":
        troubles.append("the index file is damaged, or of another store")
    total = parts.database.execute("SELECT coalesce(sum(length), 0) FROM episodes").fetchone()[0]
    if len(parts.vectors) != total:
        return [*troubles, f"the index finds {len(parts.vectors)} steps of {total}"]
    if total and (trouble := _wrong_neighbours(parts, total)):
        troubles.append(trouble)
    return troubles


def _wrong_neighbours(parts: Parts, total: int) -> str:
    queries = unit(_sample(parts, total))
    found, told = parts.vectors.search(queries, NEAREST)
    true, best = _exact(parts, queries, found)
    if np.isnan(true).any():
        return f"the index finds {int(np.isnan(true).sum())} steps that are not there"
    if wrong := int((np.abs(true - told) > CLOSE).sum()):
        return f"the index is wrong about {wrong} of {told.size} neighbours"
    reached = float((true >= best[:, -1:] - CLOSE).mean())
    return "" if reached >= RECALL else f"the index finds {reached:.0%} of the nearest steps"


def _sample(parts: Parts, total: int) -> np.ndarray:
    """Vectors of steps of episodes chosen by a fixed seed, float32 `[SAMPLE or fewer, dimension]`."""
    sql = "SELECT number FROM episodes WHERE length > 0"
    numbers = [number for (number,) in parts.database.execute(sql)]
    rng = np.random.default_rng(0)
    chosen = rng.choice(numbers, min(SAMPLE, len(numbers)), replace=False).tolist()
    return np.stack([vectors[rng.integers(len(vectors))] for vectors in map(parts.vectors.get, chosen)])


def _exact(parts: Parts, queries: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By brute force: cosines of the steps `found` `[n, k]`, NaN for one that isn't there, and the best `[n, k]`."""
    true = np.full(found.shape, np.nan, np.float32)
    best = np.full(found.shape, -2, np.float32)
    rows = parts.database.execute("SELECT episode, data FROM vectors ORDER BY episode")
    while chunk := rows.fetchmany(_CHUNK):
        matrices = [unpack_vectors(data, parts.embedder.dimension) for _, data in chunk]
        ids = np.concatenate([(n << STEP_BITS) + np.arange(len(m)) for (n, _), m in zip(chunk, matrices, strict=True)])
        if not len(ids):
            continue
        cosines = queries @ unit(np.concatenate(matrices)).T
        best = -np.sort(-np.concatenate([best, cosines], axis=1), axis=1)[:, : found.shape[1]]
        place = np.searchsorted(ids, found).clip(max=len(ids) - 1)
        here = ids[place] == found
        true[here] = np.take_along_axis(cosines, place, 1)[here]
    return true, best
