"""REINFORCE with a baseline (Williams 1992): the return to go less its running mean, without clipping.

The plainest policy gradient; no groups are needed. The gradient is weighted
by the importance ratio, so that more than one minibatch of a round stays right.

Metrics: those of `agent.surrogate`, and `baseline`, the running mean of the return to go.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from agent.advantages import returns_to_go
from agent.learner import Metrics
from agent.surrogate import PolicyGradient, SurrogateSettings
from envs.types import Episode


class Config(SurrogateSettings):
    """REINFORCE's own settings.

    Attributes:
        momentum: share of the old baseline that a round leaves; 0 takes the round's own mean.
    """

    groups: int = Field(128, ge=1)
    group_size: int = Field(1, ge=1, le=64)
    momentum: float = Field(0.5, ge=0, lt=1)

    def build(self) -> PolicyGradient:
        return PolicyGradient("reinforce", self, Baseline(self))


class Baseline:
    """Credits each decision with its return to go less a running mean over steps."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        self.value: float | None = None

    def __call__(self, episodes: Sequence[Episode]) -> tuple[np.ndarray, Metrics]:
        """The advantage of each decision, float64 `[B]`. Equal returns to go carry no news: all 0."""
        gains = returns_to_go(episodes, self.settings.discount)
        if not len(gains) or gains.max() - gains.min() < 1e-9:
            return np.zeros_like(gains), {}
        mean, kept = float(gains.mean()), self.settings.momentum
        self.value = mean if self.value is None else kept * self.value + (1 - kept) * mean
        return gains - self.value, {"baseline": self.value}
