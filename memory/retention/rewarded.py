"""A sample of all that ever came, weighted by reward: of two episodes the better paid one likelier stays.

A weighted reservoir (Efraimidis and Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003) with the stored priority
as its random number: which episodes stay depends neither on the order in which they came nor on how often memory was
full, and a larger or smaller capacity keeps a superset or a subset.
"""

import numpy as np
from pydantic import Field

from envs.component import Settings
from memory.catalogue import View


class Config(Settings):
    """`temperature` is the return, in the unit of reward, that makes an episode e = 2.7 times as heavy."""

    temperature: float = Field(0.5, gt=0)

    def build(self) -> "Rewarded":
        return Rewarded(self)


class Rewarded:
    """Keeps the highest `priority ** (1 / weight)`, where the weight is exp(return / temperature)."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def keep(self, view: View, capacity: int, rng: np.random.Generator) -> np.ndarray:
        """See `memory.retention.Retention`; `rng` is not needed. A return that is no number goes first."""
        with np.errstate(all="ignore"):  # a priority of 0: the key is -infinity, the lowest, as due
            # -log(-log(key)): the same order, and no weight is too large or too small for a float
            key = np.nan_to_num(view.gain, nan=-np.inf, posinf=np.inf, neginf=-np.inf) / self.settings.temperature
            key = np.where(np.isfinite(key), key - np.log(-np.log(view.priority)), key)
        return view.numbers[np.argsort(-key, kind="stable")[:capacity]]
