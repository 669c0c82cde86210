"""Highest drift first: what the champion would answer most differently from the policy that played it.

Drift is measured where rehearsal asks the champion about remembered steps anyway (`agent.rehearsal`), and an episode
keeps the largest that was. One that was never measured is taken to have drifted like the mean of its stratum, or of all
where nothing of its stratum was measured: so unknown episodes of drifted tasks come before known ones that did not.
"""

from collections.abc import Sequence

import numpy as np

from envs.component import Settings
from memory.catalogue import View
from memory.recall import Drawn, Failure


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Drift":
        return Drift()


class Drift:
    """Orders by drift, measured or guessed; ties at random."""

    def draw(self, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
        """See `memory.recall.Recall`; `like` is not looked at."""
        nats = _guessed(view)
        places = view.first(view.shuffled_by(-nats, rng), count)
        return Drawn(view.numbers[places], tuple(_why(view, nats, place) for place in places))


def _guessed(view: View) -> np.ndarray:
    """Drift of each episode, float64 `[n]` nats."""
    known = view.drift > 0
    if not known.any():
        return view.drift
    width = int(view.strata.max()) + 1
    sums = np.bincount(view.strata, weights=view.drift, minlength=width)
    counts = np.bincount(view.strata[known], minlength=width)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), view.drift[known].mean())
    return np.where(known, view.drift, means[view.strata])


def _why(view: View, nats: np.ndarray, place: int) -> str:
    if view.drift[place] > 0:
        return f"drift: {nats[place]:.3f} nats"
    return f"drift: not measured yet, {nats[place]:.3f} nats in the mean of its like ({view.stratum(place)})"
