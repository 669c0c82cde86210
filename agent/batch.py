"""Episodes -> samples -> aligned numbers: the one place where tokens, masks and log-probs meet.

A closed answer is one decision, whatever its tokens: its log-prob is the sum over its path in the tree. An open answer
is one decision per token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from envs.types import Action, Choices, Episode, Observation
from memory import preferences


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to be scored: `choices` None means open mode. `logprobs` are those of its sampling, nats, `[T]`."""

    observation: Observation
    choices: Choices
    tokens: np.ndarray
    logprobs: np.ndarray


@dataclass(frozen=True, slots=True)
class Scores:
    """What the policy thinks of samples now.

    Attributes:
        logprobs: float32 `[B, T]` nats; closed answers fill column 0.
        mask: float32 `[B, T]`, 1 where a decision was made.
        entropy: float32 `[B]` nats per decision.
        table: float32 `[B, C]` log-probs of every allowed answer (-inf beyond a set's size, and for open answers); None
            where all answers are open.
        closed: bool `[B]`, which are closed.
        states: the prompt's last hidden state, `[B, hidden]`, where it was asked for; no gradient.
        nexts: of open answers, where they were asked for: float32 `[B, T, K]` log-probs of K tokens at each place.
        ids: those tokens, int64 `[B, T, K]`.
    """

    logprobs: torch.Tensor
    mask: torch.Tensor
    entropy: torch.Tensor
    table: torch.Tensor | None
    closed: torch.Tensor
    states: torch.Tensor | None = None
    nexts: torch.Tensor | None = None
    ids: torch.Tensor | None = None

    def take(self, rows: Sequence[int] | slice) -> "Scores":
        """Those of some samples."""
        some = rows if isinstance(rows, slice) else torch.as_tensor(np.asarray(rows, dtype=np.int64))
        parts = (getattr(self, field.name) for field in fields(self))
        return Scores(*(None if part is None else part[some] for part in parts))  # type: ignore[arg-type]

    @property
    def sums(self) -> torch.Tensor:
        """Log-prob of each whole answer, `[B]`."""
        return (self.logprobs * self.mask).sum(1)


def sample_of(observation: Observation, choices: Choices, action: Action) -> Sample:
    """The sample that scores `action` as the answer to `observation`."""
    return Sample(observation, choices, action.tokens, action.logprobs)


def sound(episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes that something can be learned from: not broken, not empty, and paid in finite numbers."""
    return [episode for episode in preferences.sound(episodes) if episode.steps]


def samples_of(episodes: Sequence[Episode]) -> list[Sample]:
    """Every step of every sound episode, in order. Nothing is learned from a broken one."""
    return [
        sample_of(step.observation, step.choices, step.action) for episode in sound(episodes) for step in episode.steps
    ]


def decisions(samples: Sequence[Sample]) -> torch.Tensor:
    """Where samples decide, float32 `[B, T]`: the `mask` of their `Scores`, without a forward."""
    counts = torch.tensor([len(sample.tokens) if sample.choices is None else 1 for sample in samples])
    return (torch.arange(int(counts.max())) < counts[:, None]).float()


def sampled_logprobs(samples: Sequence[Sample], mask: torch.Tensor) -> torch.Tensor:
    """Log-probs under the sampling policy, float32 `[B, T]`, aligned with `Scores.logprobs`."""
    old = torch.zeros_like(mask)
    for i, sample in enumerate(samples):
        if sample.choices is not None:
            old[i, 0] = float(sample.logprobs.sum())
        else:
            old[i, : len(sample.tokens)] = torch.from_numpy(sample.logprobs)
    return old
