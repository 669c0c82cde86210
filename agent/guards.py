"""Guards of every update: stay near the champion on the new task, and stop before a collapse becomes the result.

Collapse shows first in spread of rewards, entropy and readable answers: they are watched round by round, and where one
falls the candidate goes back to its best moment.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field

from agent.batch import Sample, Scores, sound
from agent.divergence import reverse_kl
from agent.lvlm.adapters import CHAMPION
from agent.policy import Policy
from envs.component import Settings
from envs.types import Action, Episode


class StopSettings(Settings):
    """When an update stops early. None switches a rule off.

    The rules on entropy, spread and readable answers hold only while the return is below the best round's: where all is
    won, all groups are alike and all answers sure.

    Attributes:
        kl: `approx_kl`, of the sampling policy against now, in nats: beyond it the rest of the round is left out. Not
            for `sft`, which does not look at it.
        entropy: least mean of -log-prob of what was said, nats per decision.
        spread: least share of groups whose returns differ.
        readable: least share of readable answers.
        drop: how far the mean return of a round may fall below the best round's.
    """

    kl: float | None = Field(None, gt=0)
    entropy: float | None = Field(None, ge=0)
    spread: float | None = Field(None, ge=0, le=1)
    readable: float | None = Field(None, ge=0, le=1)
    drop: float | None = Field(None, gt=0)


class Watch:
    """Looks at every round, and remembers the candidate's best moment."""

    def __init__(self, settings: StopSettings, policy: Policy) -> None:
        self.settings = settings
        self.policy = policy
        self.best = -np.inf
        self._weights: list[torch.Tensor] = []

    def trouble(self, about: Mapping[str, float]) -> str:
        """Why this is a collapse, in words, or nothing. The candidate's weights are kept if it was never better."""
        gain = about.get("return")
        if gain is None:  # nothing sound was played: that is the worlds' trouble
            return ""
        if gain >= self.best:
            self.best = gain
            self._weights = self.policy.snapshot()
            return ""
        limit = self.settings
        floors = {"entropy": limit.entropy, "spread": limit.spread, "readable": limit.readable}
        for name, least in floors.items():
            if least is not None and about.get(name, least) < least:
                return f"{name} fell to {about[name]:.3f} (stop.{name} is {least:g})"
        if limit.drop is not None and gain < self.best - limit.drop:
            return f"the return fell to {gain:.3f}, {self.best - gain:.3f} below its best (stop.drop is {limit.drop:g})"
        return ""

    def restore(self) -> None:
        """Give the candidate back the weights of its best round."""
        self.policy.restore(self._weights)


def about_round(episodes: Sequence[Episode]) -> dict[str, float]:
    """Mean return, entropy (-log-prob of what was said, nats per decision), spread and readable share of a round.

    What there is nothing to say of is left out: all of it in a round without a sound episode, spread where every
    episode is alone in its group.
    """
    kept = sound(episodes)
    steps = [step for e in kept for step in e.steps]
    gains: dict[str, list[float]] = {}
    for episode in kept:
        gains.setdefault(episode.group, []).append(sum(step.reward for step in episode.steps))
    spread = [max(of_group) - min(of_group) > 1e-9 for of_group in gains.values() if len(of_group) > 1]
    means: dict[str, list[Any]] = {
        "return": [gain for of_group in gains.values() for gain in of_group],
        "entropy": [surprise(step.action) for step in steps],
        "spread": spread,
        "readable": [step.action.readable for step in steps],
    }
    return {name: float(np.mean(values)) for name, values in means.items() if values}


def surprise(action: Action) -> float:
    """-log-prob of what was said, nats per decision: of a closed answer as a whole, of each token of an open one."""
    return -float(action.logprobs.sum() if action.mode == "closed" else action.logprobs.mean())


class Anchor:
    """A pull to the champion on the new task's own observations, of a weight that seeks a given distance.

    The weight doubles where a round's KL is more than 1.5 times the target and halves where it is less than the target
    through 1.5 (the adaptive penalty of PPO, arXiv 1707.06347, section 4).

    Attributes:
        weight: of the pull now.
        seen: KL of this round's steps, nats per decision.
    """

    def __init__(self, policy: Policy, weight: float, target: float | None) -> None:
        self.policy = policy
        self.weight = weight
        self.target = target
        self._reference: Scores | None = None
        self.seen: list[float] = []

    def adapt(self) -> None:
        """Fit the weight to the last round's distance, and begin a new one."""
        if self.target is not None and self.seen:
            mean = float(np.mean(self.seen))
            if mean > 1.5 * self.target:
                self.weight *= 2
            elif mean < self.target / 1.5:
                self.weight /= 2
        self.seen = []

    def begin(self, samples: Sequence[Sample]) -> None:
        """Adapt the weight to the last round, and ask the champion about the samples of this one."""
        self.adapt()
        if self.weight > 0 and samples:
            with torch.no_grad(), self.policy.using(CHAMPION):
                self._reference = self.policy.score(samples)

    def term(self, numbers: Sequence[int], now: Scores) -> tuple[torch.Tensor | float, dict[str, torch.Tensor]]:
        """The weighted pull on these samples, and its metrics; `now` are their scores, with gradients."""
        if self.weight == 0 or self._reference is None:
            return 0.0, {}
        kl = reverse_kl(now, self._reference.take(list(numbers))).mean()
        self.seen.append(float(kl.detach()))
        return self.weight * kl, {"kl_champion": kl.detach(), "kl_weight": torch.tensor(self.weight)}
