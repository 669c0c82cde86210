"""Holding on to old skills: on remembered observations, stay close to what the champion would say.

Old transitions never enter the policy gradient (Continual World, arXiv 2105.10919: replay through the RL loss wrecks
transfer); the champion's answers on old observations are cloned instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.batch import Sample, Scores, samples_of
from agent.divergence import LIKELIEST, forward_kl
from agent.lvlm.adapters import CHAMPION
from agent.policy import Policy
from envs.types import Episode


@dataclass(slots=True)
class Rehearsal:
    """Remembered samples and the champion's opinion of them, scored once a cycle.

    Attributes:
        episodes: those that were recalled; the samples are some of their steps.
        used: how many samples were rehearsed.
    """

    samples: list[Sample]
    reference: Scores | None
    episodes: Sequence[Episode] = ()
    used: int = 0

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of `count` samples, int64, without repeats while there are enough."""
        return rng.choice(len(self.samples), size=min(count, len(self.samples)), replace=False)

    def loss(self, policy: Policy, numbers: Sequence[int]) -> torch.Tensor:
        """Mean KL(champion || candidate) in nats over the samples with these numbers; carries gradients."""
        return self._kl(policy, numbers).mean()

    @torch.no_grad()
    def measure(self, policy: Policy, most: int = 512) -> float | None:
        """The same over the first `most` samples (they were drawn at random), as a number. None without samples."""
        numbers = range(min(most, len(self.samples)))
        return float(self._kl(policy, numbers).mean()) if self.samples else None

    def _kl(self, policy: Policy, numbers: Sequence[int]) -> torch.Tensor:
        assert self.reference is not None
        reference = self.reference.take(list(numbers))
        return forward_kl(reference, policy.score([self.samples[i] for i in numbers], ids=reference.ids))


@torch.no_grad()
def rehearse(policy: Policy, episodes: Sequence[Episode], most: int, rng: np.random.Generator) -> Rehearsal:
    """Take up to `most` steps of remembered episodes and ask the champion about each, once."""
    samples = samples_of(episodes)
    if len(samples) > most:
        samples = [samples[i] for i in sorted(rng.choice(len(samples), size=most, replace=False))]
    rng.shuffle(samples)
    if not samples:
        return Rehearsal([], None, episodes)
    with policy.using(CHAMPION):
        return Rehearsal(samples, policy.score(samples, top=LIKELIEST), episodes)


@torch.no_grad()
def kl_from_champion(policy: Policy, samples: Sequence[Sample]) -> float | None:
    """KL(champion || candidate) in nats per decision on samples of the trained task. None without samples."""
    if not samples:
        return None
    now = policy.score(samples, top=LIKELIEST)
    with policy.using(CHAMPION):
        before = policy.score(samples, ids=now.ids)
    return float(forward_kl(before, now).mean())
