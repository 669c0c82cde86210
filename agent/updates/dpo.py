"""Direct preference optimisation (arXiv 2305.18290) on pairs made of this cycle's own episodes.

Two episodes of a group share their observation up to the first step at which they diverge: that step is a pair, the
difference in return its margin. Pairs are made anew each round, and the reference of a round is the policy that played
it (its log-probs came with the actions, so no reference forward is run).

Metrics: `margin` how much more the chosen answer gained than the rejected, nats; `accuracy` share of pairs with a
margin above 0; `chosen`, `rejected` mean log-probs, to see whether both fall; `pairs` of the round; `return` mean
return of the round.
"""

from collections.abc import Generator, Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field

from agent.advantages import returns
from agent.batch import Sample, sample_of, samples_of
from agent.learner import Learner, Metrics, Rounds, UpdateSettings, minibatches
from agent.losses import dpo_sigmoid
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from memory.preferences import PreferencePair, pairs_from_episodes


class Config(UpdateSettings):
    """DPO's own settings. `beta` is the strength of the pull to the reference."""

    beta: float = Field(0.5, gt=0)

    def build(self) -> "Dpo":
        return Dpo(self)


class Dpo:
    """One cycle of DPO over `settings.rounds` rounds of fresh pairs."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(
        self, policy: Policy, rounds: Rounds, rehearsal: Rehearsal, rng: np.random.Generator
    ) -> Generator[Metrics, None, UpdateReport]:
        learner = Learner("dpo", policy, rehearsal, self.settings)
        samples: list[Sample] = []
        for number, episodes in enumerate(rounds):
            learner.begin_round(number)
            samples = samples_of(episodes)
            pairs = pairs_from_episodes(episodes)
            about = {"return": float(returns(episodes).mean()), "pairs": float(len(pairs))}
            if not pairs:
                learner.skipped = "no two episodes of a group differed in action and return: no pairs"
                continue
            learner.skipped = ""
            loss = partial(self._loss, policy, pairs)
            for batch in minibatches(len(pairs), self.settings.minibatch, self.settings.epochs, rng):
                yield about | learner.step(batch, loss, rng)
        return learner.report(samples)

    def _loss(
        self, policy: Policy, pairs: list[PreferencePair], some: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        batch = [pairs[i] for i in some]
        chosen, rejected = policy.score_pairs(
            [
                (sample_of(p.observation, p.choices, p.chosen), sample_of(p.observation, p.choices, p.rejected))
                for p in batch
            ]
        )
        reference = torch.tensor([(p.chosen.logprobs.sum(), p.rejected.logprobs.sum()) for p in batch])
        loss, margin = dpo_sigmoid(chosen, rejected, reference[:, 0], reference[:, 1], self.settings.beta)
        margin, chosen, rejected = margin.detach(), chosen.detach(), rejected.detach()
        metrics = {"margin": margin.mean(), "accuracy": (margin > 0).float().mean()}
        return loss, metrics | {"chosen": chosen.mean(), "rejected": rejected.mean()}
