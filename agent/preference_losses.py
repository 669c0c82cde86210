"""The preference losses: pure tensor functions, each with its paper at the formula. Log-probs are in nats.

`chosen` and `rejected` are log-probs `[B]` of whole answers now, `reference_*` the same under the reference policy;
each function gives losses `[B]`. h = (chosen - reference_chosen) - (rejected - reference_rejected) is the margin.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu


def margins(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor) -> Tensor:
    """How much more the chosen answer gained than the rejected, `[B]`, before beta."""
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def sigmoid(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    smoothing: float = 0.0,
) -> Tensor:
    """DPO (arXiv 2305.18290, eq. 7): `-log sigmoid(beta h)`.

    With `smoothing` e, labels are taken to be wrong with that probability (conservative DPO, arXiv 2305.18290v3):
    `-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)`.
    """
    h = beta * margins(chosen, rejected, reference_chosen, reference_rejected)
    return -(1 - smoothing) * logsigmoid(h) - smoothing * logsigmoid(-h)


def ipo(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float) -> Tensor:
    """IPO (arXiv 2310.12036, eq. 17): `(h - 1 / (2 beta))^2`, which has a best margin and does not run away."""
    return (margins(chosen, rejected, reference_chosen, reference_rejected) - 1 / (2 * beta)) ** 2


def hinge(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float
) -> Tensor:
    """The hinge of SLiC (arXiv 2305.10425, 2309.06657): `max(0, 1 - beta h)`."""
    return relu(1 - beta * margins(chosen, rejected, reference_chosen, reference_rejected))


def simpo(chosen_mean: Tensor, rejected_mean: Tensor, beta: float, gamma: float) -> Tensor:
    """SimPO (arXiv 2405.14734, eq. 6), without a reference: `-log sigmoid(beta (c - r) - gamma)`.

    Args:
        chosen_mean, rejected_mean: log-probs per decision, `[B]`.
        gamma: the margin aimed at.
    """
    return -logsigmoid(beta * (chosen_mean - rejected_mean) - gamma)


def bco(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float, shift: float
) -> Tensor:
    """BCO (arXiv 2404.04656): a classifier of good against bad, `-log sigmoid(r_c - d) - log sigmoid(-(r_r - d))`.

    Args:
        shift: d, the running mean of the rewards `r = beta (log-prob - reference)` of both sides.
    """
    good, bad = beta * (chosen - reference_chosen), beta * (rejected - reference_rejected)
    return -logsigmoid(good - shift) - logsigmoid(-(bad - shift))


def kto(
    logprobs: Tensor, reference: Tensor, good: Tensor, beta: float, kl: float, weights: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """KTO (arXiv 2402.01306, eq. 8) for answers judged alone: `w (1 - sigmoid(+-(beta (log-ratio - kl))))`.

    Args:
        logprobs, reference: `[B]` of each answer.
        good: bool `[B]`.
        kl: how far the policy is from the reference, nats; it carries no gradient.
        weights: of good and of bad answers.
    """
    away = beta * (logprobs - reference - kl)
    return torch.where(good, weights[0] * torch.sigmoid(-away), weights[1] * torch.sigmoid(away))


def nll(logprobs: Tensor, decisions: Tensor) -> Tensor:
    """Negative log-likelihood per decision, `[B]` (RPO, arXiv 2404.19733; MPO, arXiv 2411.10442)."""
    return -logprobs / decisions


def anchored(chosen: Tensor, reference_chosen: Tensor, beta: float, least: float = 0.0) -> Tensor:
    """The anchor of mDPO (arXiv 2406.11839, eq. 7): the chosen answer must not lose, `-log sigmoid(beta g - least)`.

    Args:
        least: what its reward has to exceed.
    """
    return -logsigmoid(beta * (chosen - reference_chosen) - least)
