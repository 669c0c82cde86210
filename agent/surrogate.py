"""What the policy-gradient updates share: a clipped surrogate over credited decisions, and exploration.

They differ in who gets how much credit: each is a file under `agent/updates/` with a `credit` of its own.

Metrics: `approx_kl` sampling policy against now; `clipfrac` share of ratios cut; `ratio_max` the largest importance
ratio; `return` mean return of the round; `spread` share of groups whose returns differ; `entropy` nats per decision;
`readable` share of readable answers.
"""

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field

from agent.batch import Sample, sampled_logprobs, samples_of, sound
from agent.learner import Learner, Metrics, UpdateSettings
from agent.lesson import Lesson
from agent.losses import clipped_surrogate, doubt
from agent.report import UpdateReport
from envs.types import Episode

Credit = Callable[[Sequence[Episode]], tuple[np.ndarray, Metrics]]
"""The advantage of each decision of sound episodes, float64 `[B]`, and what is to be told of the round."""


class SurrogateSettings(UpdateSettings):
    """Settings of every policy-gradient update.

    Attributes:
        length_norm: let every open answer count the same, whatever its length.
        discount: of the return to go, where it is used.
        exploration_weight: of KL(uniform || policy) in the first round, over closed sets; of the negative entropy for
            open answers. It falls to 0 over the rounds, by the square of what is left. It keeps every answer alive
            where one of them often wins whatever is shown, and reopens what has become a habit: decisions that all
            members of a group take alike are looked at too.
    """

    length_norm: bool = False
    discount: float = Field(0.95, ge=0, le=1)
    exploration_weight: float = Field(0.0, ge=0)


class PolicyGradient:
    """One cycle of policy gradients over `settings.rounds` rounds."""

    def __init__(
        self, name: str, settings: SurrogateSettings, credit: Credit, clips: tuple[float, float] = (math.inf, math.inf)
    ) -> None:
        """`clips` are how far the importance ratio may leave 1, down and up, before its gradient is cut."""
        self.name = name
        self.settings = settings
        self.credit = credit
        self.clips = clips

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        learner = Learner(self.name, lesson, self.settings)
        for fresh in learner.rounds():
            exploring = self.settings.exploration_weight * learner.left**2
            samples, learner.samples = samples_of(fresh.episodes), samples_of(fresh.own)
            advantages, about = self.credit(sound(fresh.episodes))
            learner.about |= about
            if not (advantages.any() or exploring) or not samples:
                learner.skipped = "all that can be compared had equal returns: nothing to learn from"
                continue
            # decisions without an advantage carry no gradient and cost no forward, unless habits are to be doubted
            kept = np.arange(len(samples)) if exploring else np.flatnonzero(advantages)
            loss = partial(self._loss, learner, samples, advantages, exploring)
            yield from learner.learn(samples, loss, kept.tolist())
        return learner.report()

    def _loss(
        self, learner: Learner, samples: list[Sample], advantages: np.ndarray, exploring: float, some: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        batch = [samples[i] for i in some]
        now = learner.policy.score(batch)
        old = sampled_logprobs(batch, now.mask)
        gain = torch.from_numpy(advantages[list(some)]).float()
        loss, metrics = clipped_surrogate(now.logprobs, old, gain, now.mask, *self.clips, self.settings.length_norm)
        pull, about = learner.anchor.term(some, now)
        narrow = -now.entropy
        if now.table is not None:
            narrow = narrow.masked_scatter(now.closed, doubt(now.table[now.closed]))
        about |= {"entropy": now.entropy.mean().detach()}
        return loss + pull + exploring * narrow.mean(), metrics | about
