"""The objectives: pure tensor functions, each with its paper at the formula. Log-probs are in nats."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places where `mask` is 1."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def clipped_surrogate(
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_low: float,
    clip_high: float,
    per_answer: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped objective (arXiv 1707.06347), with its own upper bound (clip-higher, arXiv 2503.14476).

    Args:
        logprobs: `[B, T]` now; old: `[B, T]` at sampling; advantages: `[B]`; mask: `[B, T]`.
        clip_low, clip_high: infinite ones leave the importance-weighted policy gradient.
        per_answer: let every answer count the same, as the paper of GRPO does; otherwise every decision does, whatever
            the length of its answer (a division by length favours long wrong answers, arXiv 2503.20783).

    Returns:
        The loss, and `approx_kl` (old against now, the k3 estimator), `clipfrac`, and the largest `ratio`.
    """
    logratio = (logprobs - old) * mask
    ratio = logratio.exp()
    gain = advantages[:, None]
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip_low, 1 + clip_high) * gain)
    with torch.no_grad():
        outside = ((ratio < 1 - clip_low) | (ratio > 1 + clip_high)).float()
        metrics = {
            "approx_kl": masked_mean(ratio - 1 - logratio, mask),
            "clipfrac": masked_mean(outside, mask),
            "ratio_max": ratio.max(),
        }
    if per_answer:
        return -((surrogate * mask).sum(1) / mask.sum(1)).mean(), metrics
    return -masked_mean(surrogate, mask), metrics


def doubt(table: Tensor) -> Tensor:
    """KL(uniform || policy) over closed sets, `[B]` nats: how far answers are from being even.

    As a bonus for exploring it does what entropy can't: the push grows without bound as an answer dies, where the
    gradient of the entropy dies with it.

    Args:
        table: `[B, C]` log-probs, -inf where a set has fewer answers.
    """
    there = table.isfinite()
    count = there.sum(1)
    return -table.masked_fill(~there, 0.0).sum(1) / count - count.log()


def table_kl(reference: Tensor, now: Tensor) -> Tensor:
    """Exact KL(reference || now) over closed sets, `[B]` nats.

    Args:
        reference, now: `[B, C]` log-probs, -inf where a set has fewer answers.
    """
    gap = torch.where(reference.isinf(), torch.zeros_like(reference), reference - now)
    return (reference.exp() * gap).sum(1)
