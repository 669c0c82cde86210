"""Supervised fine-tuning: cloning what succeeded, or what a world's expert says of the candidate's own states.

The warm-up where a world's actions are never said by chance, so that RL and DPO have nothing to compare. Offline
cloning forgets most (arXiv 2510.18874); here the states are the candidate's own, each round (DAgger, arXiv 1011.0686),
and rehearsal holds the old skills. `source: successes` is filtered cloning (RAFT, arXiv 2304.06767).

Metrics: `nll` nats per decision; `cloned` decisions of the round; and those of `agent.guards.about_round`.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from agent.batch import Sample, sample_of, samples_of, sound
from agent.learner import Learner, Metrics, UpdateSettings
from agent.lesson import Lesson
from agent.losses import masked_mean
from agent.policy import Policy
from agent.report import UpdateReport
from envs.component import UserError
from envs.types import Episode


class Config(UpdateSettings):
    """SFT's own settings.

    Attributes:
        source: `successes` clones every step of successful episodes; `expert` what the world's expert says of every
            state that was met (set `expert: true` in the world).
    """

    group_size: int = Field(1, ge=1, le=64)
    groups: int = Field(128, ge=1)
    source: Literal["successes", "expert"] = "successes"

    def build(self) -> "Sft":
        return Sft(self)


class Sft:
    """One cycle of cloning over `settings.rounds` rounds of fresh episodes."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        learner = Learner("sft", lesson, self.settings)
        for fresh in learner.rounds():
            learner.samples = samples_of(fresh.own)
            samples = self._cloned(lesson.policy, fresh.task, sound(fresh.episodes))
            learner.about["cloned"] = float(len(samples))
            if not samples:
                learner.skipped = "no episode succeeded: nothing to clone"
                continue
            yield from learner.learn(samples, partial(self._loss, learner, samples))
        return learner.report()

    def _cloned(self, policy: Policy, task: str, episodes: Sequence[Episode]) -> list[Sample]:
        """What is to be said, as samples. A world under review that tells of no expert is left out."""
        if self.settings.source == "successes":
            return [sample_of(s.observation, s.choices, s.action) for e in episodes if e.success for s in e.steps]
        samples = []
        for known, step in ((episode.task == task, step) for episode in episodes for step in episode.steps):
            if "expert" not in step.info:
                if not known:
                    continue
                raise UserError(
                    "update.source is 'expert', but the world's steps tell of none: set expert: true in the regime's "
                    "world, or clone successes."
                )
            tokens = policy.encode(step.info["expert"], step.choices)
            samples.append(Sample(step.observation, step.choices, tokens, np.zeros(len(tokens), np.float32)))
        return samples

    def _loss(
        self, learner: Learner, samples: list[Sample], some: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        now = learner.policy.score([samples[i] for i in some])
        nll = masked_mean(-now.logprobs, now.mask)
        pull, about = learner.anchor.term(some, now)
        return nll + pull, about | {"nll": nll.detach()}
