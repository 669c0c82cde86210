"""How far two opinions of the same samples are from each other, in nats per decision.

Over closed sets KL is exact. Of open answers it is exact too where both tell of the likeliest next tokens (the rest is
one more token: a lower bound that is tight where little is left over); else it is estimated on what was said.
"""

import torch
from torch import Tensor

from agent.batch import Scores
from agent.losses import table_kl

LIKELIEST = 64
"""Next tokens that are told of each place of an open answer."""


def forward_kl(reference: Scores, now: Scores) -> Tensor:
    """KL(reference || now) of each sample, `[B]`, over the same samples.

    Where open answers tell of no next tokens: the log-ratio of what was said, whose gradient clones it.
    """
    said = ((reference.logprobs[:, : now.mask.shape[1]] - now.logprobs) * now.mask).sum(1) / now.mask.sum(1)
    if reference.nexts is not None and now.nexts is not None:
        width = now.mask.shape[1]
        each = coarse_kl(reference.nexts[:, :width], now.nexts)
        said = (each * now.mask).sum(1) / now.mask.sum(1)
    return _by_kind(reference, now, said)


def reverse_kl(now: Scores, reference: Scores) -> Tensor:
    """KL(now || reference) of each sample, `[B]`; of open answers by the k3 estimator on what `now` said."""
    width = min(now.mask.shape[1], reference.mask.shape[1])  # beyond the longest of these answers there is nothing
    mask = now.mask[:, :width]
    gap = (reference.logprobs[:, :width] - now.logprobs[:, :width]) * mask
    said = ((gap.exp() - 1 - gap) * mask).sum(1) / mask.sum(1)
    return _by_kind(now, reference, said)


def _by_kind(first: Scores, second: Scores, said: Tensor) -> Tensor:
    """KL(first || second) over closed sets, and what is given for open answers."""
    closed = first.closed
    if not closed.any() or first.table is None or second.table is None:
        return said
    width = max(first.table.shape[1], second.table.shape[1])
    tables = [
        torch.nn.functional.pad(one.table[closed], (0, width - one.table.shape[1]), value=-torch.inf)
        for one in (first, second)
        if one.table is not None
    ]
    return said.masked_scatter(closed, table_kl(*tables))


def coarse_kl(reference: Tensor, now: Tensor) -> Tensor:
    """KL over K tokens and one that stands for the rest, `[...]`.

    Args:
        reference, now: log-probs of the same K tokens, `[..., K]`.
    """
    gap = torch.where(reference.isinf(), torch.zeros_like(reference), reference - now)
    known = (reference.exp() * gap).sum(-1)
    left, left_now = ((1 - part.exp().sum(-1)).clamp(min=1e-6) for part in (reference, now))
    return known + left * (left.log() - left_now.log())
