"""Group-relative policy optimisation (GRPO, arXiv 2402.03300; RLOO, arXiv 2402.14740).

Episodes of a group start from the same state; each decision of an episode is credited with the episode's return minus
its group's mean. Left out of the paper's GRPO: the division by the group's standard deviation and by the answer's
length (arXiv 2503.20783), and the KL term on the new task: staying close is asked for on old observations, by
rehearsal.

Metrics: `approx_kl` sampling policy against now; `clipfrac` share of ratios cut; `ratio_max` the largest importance
ratio; `flat_groups` share of groups in which all returns were equal; `return` mean return of the round; `entropy` nats
per decision; `readable` share of readable answers.
"""

from collections.abc import Generator, Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field

from agent.advantages import group_relative, returns, returns_to_go, step_groups
from agent.batch import Sample, sampled_logprobs, samples_of
from agent.learner import Learner, Metrics, Rounds, UpdateSettings, minibatches
from agent.losses import clipped_surrogate, doubt
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from envs.types import Episode, StopReason


class Config(UpdateSettings):
    """GRPO's own settings; `leave_one_out` makes it RLOO.

    Attributes:
        episode_weight: of the episode's advantage, given to each of its steps.
        step_weight: of the advantage among steps of a group that saw the very same, by discounted return to go. It
            tells the wrong step of an episode from the right ones, where worlds repeat their states.
        discount: of the return to go.
        exploration_weight: of KL(uniform || policy) in the first round, over closed sets; of the negative entropy for
            open answers. It falls to 0 over the rounds, by the square of what is left. It keeps every answer alive
            where one of them often wins whatever is shown, and reopens what has become a habit: decisions that all
            members of a group take alike are looked at too.
    """

    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.28, gt=0)
    leave_one_out: bool = False
    scale_by_std: bool = False
    episode_weight: float = Field(1.0, ge=0)
    step_weight: float = Field(0.0, ge=0)
    discount: float = Field(0.95, ge=0, le=1)
    exploration_weight: float = Field(0.0, ge=0)

    def build(self) -> "Grpo":
        return Grpo(self)


class Grpo:
    """One cycle of GRPO over `settings.rounds` rounds."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(
        self, policy: Policy, rounds: Rounds, rehearsal: Rehearsal, rng: np.random.Generator
    ) -> Generator[Metrics, None, UpdateReport]:
        learner = Learner("grpo", policy, rehearsal, self.settings)
        samples: list[Sample] = []
        for number, episodes in enumerate(rounds):
            exploring = self.settings.exploration_weight * learner.begin_round(number) ** 2
            samples, advantages, about = credit(episodes, self.settings)
            if not (advantages.any() or exploring):
                learner.skipped = "every group had equal returns: nothing to compare"
                continue
            learner.skipped = ""
            # decisions without an advantage carry no gradient and cost no forward, unless habits are to be doubted
            kept = np.arange(len(samples)) if exploring else np.flatnonzero(advantages)
            loss = partial(self._loss, policy, samples, advantages, exploring)
            for batch in minibatches(len(kept), self.settings.minibatch, self.settings.epochs, rng):
                chosen = kept[batch].tolist()
                yield about | learner.step(chosen, loss, rng)
        return learner.report(samples)

    def _loss(
        self, policy: Policy, samples: list[Sample], advantages: np.ndarray, exploring: float, some: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        batch = [samples[i] for i in some]
        now = policy.score(batch)
        old = sampled_logprobs(batch, now.mask)
        gain = torch.from_numpy(advantages[list(some)]).float()
        config = self.settings
        loss, metrics = clipped_surrogate(now.logprobs, old, gain, now.mask, config.clip_low, config.clip_high)
        entropy = now.entropy.mean()
        narrow = -entropy if now.table is None else doubt(now.table).mean()
        return loss + exploring * narrow, metrics | {"entropy": entropy.detach()}


def credit(episodes: Sequence[Episode], settings: Config) -> tuple[list[Sample], np.ndarray, Metrics]:
    """Samples of a round, the advantage of each decision, float64 `[B]`, and what the round was like."""
    sound = [e for e in episodes if e.stop is not StopReason.ENV_ERROR and e.steps]
    values = returns(sound)
    how = (settings.leave_one_out, settings.scale_by_std)
    per_episode, flat = group_relative(values, [e.group for e in sound], *how)
    advantages = settings.episode_weight * np.repeat(per_episode, [len(e.steps) for e in sound])
    if settings.step_weight > 0:
        per_step, _ = group_relative(returns_to_go(sound, settings.discount), step_groups(sound), *how)
        advantages += settings.step_weight * per_step
    readable = [step.action.readable for e in sound for step in e.steps]
    about = {
        "return": float(values.mean()) if len(values) else 0.0,
        "flat_groups": flat / max(1, len({e.group for e in sound})),
        "readable": float(np.mean(readable)) if readable else 0.0,
    }
    return samples_of(sound), advantages, about
