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

from agent.advantages import group_relative, returns
from agent.batch import Sample, sampled_logprobs, samples_of
from agent.learner import Learner, Metrics, NotFinite, Rounds, UpdateSettings, minibatches
from agent.losses import clipped_surrogate
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from envs.types import Episode, StopReason


class Config(UpdateSettings):
    """GRPO's own settings; `leave_one_out` makes it RLOO."""

    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.28, gt=0)
    leave_one_out: bool = False
    scale_by_std: bool = False
    entropy_weight: float = Field(0.0, ge=0)

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
        for episodes in rounds:
            samples, advantages, about = credit(episodes, self.settings)
            if not advantages.any():
                learner.skipped = "every group had equal returns: nothing to compare"
                continue
            learner.skipped = ""
            kept = np.flatnonzero(advantages)  # zero-variance groups carry no gradient: they cost no forward either
            loss = partial(self._loss, policy, samples, advantages)
            for batch in minibatches(len(kept), self.settings.minibatch, self.settings.epochs, rng):
                chosen = kept[batch].tolist()
                try:
                    yield about | learner.step(chosen, loss, rng)
                except NotFinite as error:
                    learner.skipped = str(error)
                    return learner.report([])
        return learner.report(samples)

    def _loss(
        self, policy: Policy, samples: list[Sample], advantages: np.ndarray, some: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        batch = [samples[i] for i in some]
        now = policy.score(batch)
        old = sampled_logprobs(batch, now.mask)
        gain = torch.from_numpy(advantages[list(some)]).float()
        config = self.settings
        loss, metrics = clipped_surrogate(now.logprobs, old, gain, now.mask, config.clip_low, config.clip_high)
        entropy = now.entropy.mean()
        return loss - config.entropy_weight * entropy, metrics | {"entropy": entropy.detach()}


def credit(episodes: Sequence[Episode], settings: Config) -> tuple[list[Sample], np.ndarray, Metrics]:
    """Samples of a round, the advantage of each decision, float64 `[B]`, and what the round was like."""
    sound = [e for e in episodes if e.stop is not StopReason.ENV_ERROR and e.steps]
    values = returns(sound)
    per_episode, flat = group_relative(values, [e.group for e in sound], settings.leave_one_out, settings.scale_by_std)
    advantages = np.repeat(per_episode, [len(e.steps) for e in sound])
    readable = [step.action.readable for e in sound for step in e.steps]
    about = {
        "return": float(values.mean()) if len(values) else 0.0,
        "flat_groups": flat / max(1, len({e.group for e in sound})),
        "readable": float(np.mean(readable)) if readable else 0.0,
    }
    return samples_of(sound), advantages, about
