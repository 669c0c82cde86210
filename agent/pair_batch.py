"""Pairs of a round made ready: what is scored for each, and what the reference says of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.batch import Sample, sample_of
from agent.policy import Policy
from envs.types import Observation
from memory.preferences import PreferencePair


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs as samples.

    Attributes:
        chosen, rejected: a sample each.
        wrong: the chosen answer under a wrong picture, where there is one.
        reference: float32 `[P, 3]` nats, log-probs of the three under the reference.
        live: numbers of pairs that still teach something.
    """

    chosen: list[Sample]
    rejected: list[Sample]
    wrong: list[Sample | None]
    reference: torch.Tensor
    live: list[int]

    def samples(self, some: Sequence[int]) -> list[Sample]:
        """The chosen of these pairs, then their rejected, then those under a wrong picture."""
        misled = [sample for i in some if (sample := self.wrong[i]) is not None]
        return [*(self.chosen[i] for i in some), *(self.rejected[i] for i in some), *misled]


def spoken_here(policy: Policy, pair: PreferencePair) -> bool:
    """Whether the policy's tokens of both answers are those of the pair: another tokenizer may have made it."""
    if pair.choices is None:
        return True
    return all(
        answer.text in pair.choices and np.array_equal(policy.encode(answer.text, pair.choices), answer.tokens)
        for answer in (pair.chosen, pair.rejected)
    )


def prepared(
    policy: Policy,
    fresh: Sequence[PreferencePair],
    old: Sequence[PreferencePair],
    wrong: Sequence[Observation | None],
    retire_margin: float | None = None,
) -> PairBatch:
    """Fresh pairs, then old ones, under the reference: the policy that speaks now, which played the fresh ones.

    Stored log-probs are taken where there are; the rest is scored in one go, without gradients.

    Args:
        wrong: for each fresh pair, its observation with a wrong picture.
        retire_margin: an old pair whose answers are already that far apart, in nats, is left out.
    """
    pairs = [*fresh, *old]
    chosen = [sample_of(p.observation, p.choices, p.chosen) for p in pairs]
    rejected = [sample_of(p.observation, p.choices, p.rejected) for p in pairs]
    misled = [None if o is None else sample_of(o, p.choices, p.chosen) for p, o in zip(fresh, wrong, strict=True)]
    misled += [None] * len(old)
    known = [p.reference_logprobs for p in fresh] + [None] * len(old)
    reference = torch.zeros(len(pairs), 3)
    asked: list[tuple[int, int, Sample]] = []
    for i, stored in enumerate(known):
        if stored is not None:
            reference[i, :2] = torch.tensor(stored)
        else:
            asked += [(i, 0, chosen[i]), (i, 1, rejected[i])]
    asked += [(i, 2, sample) for i, sample in enumerate(misled) if sample is not None]
    if asked:
        with torch.no_grad():
            said = policy.score([sample for _, _, sample in asked]).sums
        for (i, column, _), value in zip(asked, said, strict=True):
            reference[i, column] = value
    apart = reference[:, 0] - reference[:, 1]
    live = [i for i in range(len(pairs)) if i < len(fresh) or retire_margin is None or apart[i] < retire_margin]
    return PairBatch(chosen, rejected, misled, reference, live)
