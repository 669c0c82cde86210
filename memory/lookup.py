"""What strategies ask the vectors of episodes: their means, who is nearest, and what failed lately."""

import numpy as np

from memory.catalogue import Found, View, find
from memory.episodes import Episodes
from memory.neighbours import widened
from memory.recall import Failure
from memory.schema import STEP_BITS
from memory.vectors import Vectors


def mean_vectors(vectors: Vectors, numbers: np.ndarray, dimension: int) -> np.ndarray:
    """Mean of each episode's step vectors, float32 `[n, dimension]`; zeros for one without steps."""
    out = np.zeros((len(numbers), dimension), np.float32)
    for row, number in zip(out, numbers.tolist(), strict=True):
        steps = vectors.get(number)
        if len(steps):
            row[:] = steps.mean(axis=0)
    return out


def nearest(vectors: Vectors, view: View, queries: np.ndarray, count: int) -> Found:
    """See `memory.catalogue.View.nearest`."""
    if not len(view) or not len(queries):
        return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)

    def pick(steps: np.ndarray, cosines: np.ndarray) -> tuple[Found, bool]:
        which, rank = np.indices(steps.shape)
        place, there = find(view.numbers, steps.ravel() >> STEP_BITS)
        order = np.lexsort((steps.ravel(), -cosines.ravel(), rank.ravel()))
        order = order[there[order]]
        _, best = np.unique(place[order], return_index=True)
        order = order[np.sort(best)]
        places = view.first(place[order], count)
        found = order[: len(places)]
        enough = int(view.length[places].sum()) >= count
        return (places, cosines.ravel()[found], which.ravel()[found]), enough

    return widened(vectors, queries, max(64, count), pick)


def failures(vectors: Vectors, view: View, most: int, rng: np.random.Generator) -> list[Failure]:
    """A step each, at random, of up to `most` episodes of `view` that failed in the last cycle that played their task.

    What an older cycle failed at may have been mended since. Tasks take turns.
    """
    if not len(view):
        return []
    task = view.strata // 2
    newest = np.full(int(task.max()) + 1, -1)
    np.maximum.at(newest, task, view.cycle)
    failed = view.where(~view.success & (view.cycle == newest[task]))
    order = failed.shuffled_by(failed.strata, rng)
    _, starts, counts = np.unique(failed.strata[order], return_index=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(starts, counts)
    found = []
    for place in order[np.argsort(turn, kind="stable")[:most]].tolist():
        number = int(failed.numbers[place])
        steps = vectors.get(number)
        name = failed.tasks[int(failed.strata[place]) // 2]
        found.append(Failure(number, name, steps[int(rng.integers(len(steps)))]))
    return found


def named(episodes: Episodes, steps: np.ndarray, cosines: np.ndarray) -> list[tuple[str, int, float]]:
    """Steps int64 `[m]` by number and their cosines float32 `[m]` as (episode id, step, cosine)."""
    numbers, places = steps >> STEP_BITS, steps & ((1 << STEP_BITS) - 1)
    names = episodes.ids(np.unique(numbers).tolist())
    rows = zip(numbers.tolist(), places.tolist(), cosines.tolist(), strict=True)
    return [(names[number], place, cosine) for number, place, cosine in rows]
