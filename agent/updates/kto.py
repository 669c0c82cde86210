"""Answers judged alone, good or bad: KTO (arXiv 2402.01306) or BCO (arXiv 2404.04656), where no pairs can be had.

A decision is good if its episode (or its step, see `step_weight`) did better than its group, bad if worse; those that
tell nothing are left out. The reference of a round is the policy that played it.

Metrics: `good`, `bad` mean log-ratio to the reference, nats; `kl` from the reference, estimated by importance weights
(KTO's next step measures answers from it); `approx_kl`; `reward` mean of beta times the log-ratio (BCO's shift follows
it); `judged` decisions of the round that were judged; and those of `agent.guards.about_round`.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn.functional import logsigmoid

from agent import preference_losses as losses
from agent.advantages import group_relative, returns, returns_to_go, step_groups
from agent.batch import Sample, samples_of, sound
from agent.learner import Learner, Metrics, UpdateSettings
from agent.lesson import Lesson
from agent.report import UpdateReport
from envs.types import Episode


class Config(UpdateSettings):
    """KTO's own settings.

    Attributes:
        loss: `kto` or `bco`.
        beta: the strength of the pull to the reference.
        good_weight, bad_weight: of good and of bad answers, each side shared out among its answers of the round: as
            the paper asks, many bad ones don't outweigh few good ones.
        step_weight: of the advantage among steps that saw the very same, beside the episode's, in judging.
        discount: of the return to go.
    """

    loss: Literal["kto", "bco"] = "kto"
    beta: float = Field(0.5, gt=0)
    good_weight: float = Field(1.0, ge=0)
    bad_weight: float = Field(1.0, ge=0)
    step_weight: float = Field(0.0, ge=0)
    discount: float = Field(0.95, ge=0, le=1)

    @model_validator(mode="after")
    def _some_side_counts(self) -> Self:
        if self.good_weight == 0 == self.bad_weight:
            raise ValueError("good_weight and bad_weight are 0: nothing would be learned. Give one of them a weight.")
        return self

    def build(self) -> "Kto":
        return Kto(self)


class Kto:
    """One cycle of learning from single judgements."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        self.shift = self.kl = 0.0  # as the last step left them, whatever the pieces of a step

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        learner = Learner("kto", lesson, self.settings)
        for fresh in learner.rounds():
            samples, learner.samples = samples_of(fresh.episodes), samples_of(fresh.own)
            self.kl = 0.0
            worth = self._worth(sound(fresh.episodes))
            judged = np.flatnonzero(worth)
            learner.about["judged"] = float(len(judged))
            if not len(judged):
                learner.skipped = "every group had equal returns: nothing to judge"
                continue
            good = worth > 0
            weights = [
                weight * len(judged) / (2 * max(1, count))
                for weight, count in (
                    (self.settings.good_weight, int(good.sum())),
                    (self.settings.bad_weight, len(judged) - int(good.sum())),
                )
            ]
            loss = partial(self._loss, learner, samples, good, (weights[0], weights[1]))
            for metrics in learner.learn(samples, loss, judged.tolist()):
                self.kl, self.shift = max(0.0, metrics["kl"]), 0.9 * self.shift + 0.1 * metrics["reward"]
                yield metrics
        return learner.report()

    def _worth(self, episodes: Sequence[Episode]) -> np.ndarray:
        """Above 0 where a decision was good, below where bad, float64 `[B]`."""
        per_episode, _ = group_relative(returns(episodes), [e.group for e in episodes])
        worth = np.repeat(per_episode, [len(e.steps) for e in episodes])
        if self.settings.step_weight:
            gains = returns_to_go(episodes, self.settings.discount)
            worth += self.settings.step_weight * group_relative(gains, step_groups(episodes))[0]
        return worth

    def _loss(
        self,
        learner: Learner,
        samples: list[Sample],
        is_good: np.ndarray,
        weights: tuple[float, float],
        some: Sequence[int],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        now = learner.policy.score([samples[i] for i in some])
        sums, good = now.sums, torch.from_numpy(is_good[list(some)])
        reference = torch.tensor([float(samples[i].logprobs.sum()) for i in some])
        ratio = (sums - reference).detach()
        value = self._per_answer(sums, reference, good, weights).mean()
        about = {"kl": (ratio.exp() * ratio).mean(), "reward": self.settings.beta * ratio.mean()}
        about["approx_kl"] = (ratio.exp() - 1 - ratio).mean()
        pull, pulled = learner.anchor.term(some, now)
        means = {name: ratio[which].mean() for name, which in (("good", good), ("bad", ~good)) if which.any()}
        return value + pull, means | about | pulled

    def _per_answer(
        self, sums: torch.Tensor, reference: torch.Tensor, good: torch.Tensor, weights: tuple[float, float]
    ) -> torch.Tensor:
        config = self.settings
        if config.loss == "kto":
            return losses.kto(sums, reference, good, config.beta, self.kl, weights)
        rewards = config.beta * (sums - reference)
        sign = torch.where(good, 1.0, -1.0)
        return -torch.where(good, *weights) * logsigmoid(sign * (rewards - self.shift))
