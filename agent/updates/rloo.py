"""REINFORCE leave-one-out (RLOO, arXiv 2402.14740): each episode against the mean of the others in its group.

The baseline does not hold the episode itself, so that the gradient is unbiased; with groups of n it is GRPO's advantage
times n / (n - 1). Metrics: as `grpo`.
"""

from collections.abc import Sequence

import numpy as np

from agent.learner import Metrics
from agent.surrogate import PolicyGradient
from agent.updates import grpo
from envs.types import Episode


class Config(grpo.Config):
    """The settings of `grpo`."""

    def build(self) -> PolicyGradient:
        return PolicyGradient("rloo", self, self.credit, (self.clip_low, self.clip_high))

    def credit(self, episodes: Sequence[Episode]) -> tuple[np.ndarray, Metrics]:
        """The advantage of each decision, float64 `[B]`, and the share of flat groups."""
        return grpo.group_credit(episodes, self, leave_one_out=True)
