"""Every preference loss against a number worked out by hand."""

import math

import pytest
import torch

from agent import preference_losses as losses

# chosen gained 1, rejected lost 2: h = 3
GIVEN = tuple(torch.tensor([x]) for x in (-1.0, -3.0, -2.0, -1.0))


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_sigmoid_by_hand() -> None:
    """h = (-1 + 2) - (-3 + 1) = 3; beta 0.5: log(1 + e^-1.5) = 0.2014133."""
    assert float(losses.margins(*GIVEN)) == 3.0
    assert float(losses.sigmoid(*GIVEN, beta=0.5)) == pytest.approx(0.2014133, rel=1e-6)


def test_smoothed_sigmoid_by_hand() -> None:
    """0.9 * 0.2014133 + 0.1 * log(1 + e^1.5) = 0.1812720 + 0.1701413 = 0.3514133."""
    assert float(losses.sigmoid(*GIVEN, beta=0.5, smoothing=0.1)) == pytest.approx(0.3514133, rel=1e-6)


def test_at_the_reference_sigmoid_is_log_two() -> None:
    same = torch.tensor([-1.0, -2.0])
    assert losses.sigmoid(same, same - 1, same, same - 1, beta=0.1).tolist() == pytest.approx([math.log(2)] * 2)


def test_ipo_by_hand() -> None:
    """(3 - 1 / (2 * 0.5))^2 = 4; nothing is left to gain at h = 1 / (2 beta)."""
    assert float(losses.ipo(*GIVEN, beta=0.5)) == 4.0
    assert float(losses.ipo(*GIVEN, beta=1 / 6)) == pytest.approx(0.0, abs=1e-9)


def test_hinge_by_hand() -> None:
    """beta 0.2: 1 - 0.6 = 0.4; beta 0.5: 1 - 1.5 < 0, so 0."""
    assert float(losses.hinge(*GIVEN, beta=0.2)) == pytest.approx(0.4)
    assert float(losses.hinge(*GIVEN, beta=0.5)) == 0.0


def test_simpo_by_hand() -> None:
    """Means -1 and -1.5, beta 2, gamma 0.5: -log sigmoid(0.5) = 0.4740770."""
    loss = losses.simpo(torch.tensor([-1.0]), torch.tensor([-1.5]), beta=2, gamma=0.5)
    assert float(loss) == pytest.approx(0.4740770, rel=1e-6)


def test_bco_by_hand() -> None:
    """Rewards 0.5 and -1, shift 0.25: log(1 + e^-0.25) + log(1 + e^-1.25) = 0.5759394 + 0.2519300."""
    assert float(losses.bco(*GIVEN, beta=0.5, shift=0.25)) == pytest.approx(0.8278686, rel=1e-4)


def test_kto_by_hand() -> None:
    """Log-ratios 1 (good) and -2 (bad), kl 0.5, beta 0.5: 1 - sigmoid(0.25), and 2 (1 - sigmoid(1.25))."""
    logprobs, reference = torch.tensor([-1.0, -3.0]), torch.tensor([-2.0, -1.0])
    loss = losses.kto(logprobs, reference, torch.tensor([True, False]), beta=0.5, kl=0.5, weights=(1.0, 2.0))
    assert loss.tolist() == pytest.approx([1 - sigma(0.25), 2 * (1 - sigma(1.25))], rel=1e-6)


def test_nll_by_hand() -> None:
    """-6 over 3 decisions: 2 nats each."""
    assert float(losses.nll(torch.tensor([-6.0]), torch.tensor([3.0]))) == 2.0


def test_anchor_by_hand() -> None:
    """It gained 1, beta 0.5: -log sigmoid(0.5 - 0.1) = 0.5130153."""
    assert float(losses.anchored(GIVEN[0], GIVEN[2], beta=0.5, least=0.1)) == pytest.approx(0.5130153, rel=1e-6)


@pytest.mark.parametrize("loss", [losses.sigmoid, losses.ipo, losses.hinge])
def test_the_better_answer_is_pushed_up_and_the_worse_one_down(loss) -> None:
    chosen, rejected = (torch.tensor([-1.0], requires_grad=True) for _ in range(2))
    still = torch.tensor([-1.0])
    up, down = torch.autograd.grad(loss(chosen, rejected, still, still, 0.5).sum(), (chosen, rejected))
    assert float(up) < 0 < float(down)
