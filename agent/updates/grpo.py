"""Group-relative policy optimisation (GRPO, arXiv 2402.03300), with step groups (GiGPO, arXiv 2505.10978).

Episodes of a group start from the same state; each decision of an episode is credited with the episode's return minus
its group's mean. Left out of the paper's GRPO: the division by the group's standard deviation and by the answer's
length (arXiv 2503.20783), unless asked for, and the KL term on the new task: staying close is asked for on old
observations, by rehearsal.

Metrics: those of `agent.surrogate`, and `flat_groups`, the share of groups in which all returns were equal: they are
dropped.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from agent.advantages import group_relative, returns, returns_to_go, step_groups
from agent.learner import Metrics
from agent.surrogate import PolicyGradient, SurrogateSettings
from envs.types import Episode


class Config(SurrogateSettings):
    """GRPO's own settings.

    Attributes:
        clip_low, clip_high: how far the importance ratio may leave 1 before its gradient is cut (clip-higher, arXiv
            2503.14476).
        scale_by_std: divide by the group's standard deviation.
        episode_weight: of the episode's advantage, given to each of its steps.
        step_weight: of the advantage among steps of a group that saw the very same, by discounted return to go. It
            tells the wrong step of an episode from the right ones, where worlds repeat their states.
    """

    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.28, gt=0)
    scale_by_std: bool = False
    episode_weight: float = Field(1.0, ge=0)
    step_weight: float = Field(0.0, ge=0)

    def build(self) -> PolicyGradient:
        return PolicyGradient("grpo", self, self.credit, (self.clip_low, self.clip_high))

    def credit(self, episodes: Sequence[Episode]) -> tuple[np.ndarray, Metrics]:
        """The advantage of each decision, float64 `[B]`, and the share of flat groups."""
        return group_credit(episodes, self, leave_one_out=False)


def group_credit(episodes: Sequence[Episode], settings: Config, leave_one_out: bool) -> tuple[np.ndarray, Metrics]:
    """Advantages within groups of episodes and of steps, float64 `[B]`, and the share of flat groups."""
    how = (leave_one_out, settings.scale_by_std)
    per_episode, flat = group_relative(returns(episodes), [e.group for e in episodes], *how)
    advantages = settings.episode_weight * np.repeat(per_episode, [len(e.steps) for e in episodes])
    if settings.step_weight > 0:
        per_step, _ = group_relative(returns_to_go(episodes, settings.discount), step_groups(episodes), *how)
        advantages += settings.step_weight * per_step
    return advantages, {"flat_groups": flat / max(1, len({e.group for e in episodes}))}
