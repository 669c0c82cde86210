"""A uniform sample of all that ever came (Vitter's reservoir, with a stored priority an episode instead of a counter).

The priority is a hash of the episode's id: which episodes stay depends neither on the order in which they came nor on
how often memory was full, and a larger or smaller capacity keeps a superset or a subset.
"""

import numpy as np

from envs.component import Settings
from memory.catalogue import View


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Reservoir":
        return Reservoir()


class Reservoir:
    """Keeps the highest priorities."""

    def keep(self, view: View, capacity: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.retention.Retention`; `rng` is not needed."""
        return view.numbers[np.argsort(-view.priority, kind="stable")[:capacity]]
