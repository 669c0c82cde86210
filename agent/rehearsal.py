"""Holding on to old skills: on remembered observations, stay close to what the champion would say.

Old transitions never enter the policy gradient (Continual World, arXiv 2105.10919: replay through the RL loss wrecks
transfer); the champion's answers on old observations are cloned instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from agent.batch import Sample, Scores, sampled_logprobs, samples_of, sound
from agent.divergence import LIKELIEST, coarse_kl, forward_kl
from agent.lvlm.adapters import CHAMPION
from agent.policy import Policy
from envs.types import Episode


@dataclass(slots=True)
class Rehearsal:
    """Remembered samples and the champion's opinion of them, scored once a cycle.

    Attributes:
        episodes: those that were recalled; the samples are some of their steps.
        used: how many samples were rehearsed.
        drift: how far the champion is now from who played it, by episode id, see `drifted`.
    """

    samples: list[Sample]
    reference: Scores | None
    episodes: Sequence[Episode] = ()
    used: int = 0
    drift: Mapping[str, float] = field(default_factory=dict)

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
    owners = [episode.id for episode in sound(episodes) for _ in episode.steps]
    picks = list(range(len(samples)))
    if len(samples) > most:
        picks = sorted(rng.choice(len(samples), size=most, replace=False).tolist())
    rng.shuffle(picks)
    samples = [samples[i] for i in picks]
    if not samples:
        return Rehearsal([], None, episodes)
    with policy.using(CHAMPION):
        reference = policy.score(samples, top=LIKELIEST)
    return Rehearsal(samples, reference, episodes, drift=drifted([owners[i] for i in picks], samples, reference))


def drifted(owners: Sequence[str], samples: Sequence[Sample], now: Scores) -> dict[str, float]:
    """KL(who played it || who scores now) in nats per decision by owner, from nothing but the answers that were said.

    What is known of who played is the probability p of what was said; `now` tells that probability today, q. Between
    "said" and "anything else" KL is `p log(p/q) + (1-p) log((1-p)/(1-q))`: never more than over all answers, and the
    same where there are two. Unlike log(p/q) alone it is never below 0, and no single rare answer makes it huge.
    """
    stored = sampled_logprobs(samples, now.mask.cpu())
    each = coarse_kl(stored[..., None], now.logprobs.detach().cpu()[..., None]) * now.mask.cpu()
    nats = (each.sum(1) / now.mask.cpu().sum(1).clamp(min=1)).clamp(min=0).tolist()
    mean: dict[str, list[float]] = {}
    for owner, value in zip(owners, nats, strict=True):
        mean.setdefault(owner, []).append(value)
    told = {owner: float(np.mean(values)) for owner, values in mean.items()}
    return {owner: value for owner, value in told.items() if np.isfinite(value)}


@torch.no_grad()
def kl_from_champion(policy: Policy, samples: Sequence[Sample]) -> float | None:
    """KL(champion || candidate) in nats per decision on samples of the trained task. None without samples."""
    if not samples:
        return None
    now = policy.score(samples, top=LIKELIEST)
    with policy.using(CHAMPION):
        before = policy.score(samples, ids=now.ids)
    return float(forward_kl(before, now).mean())
