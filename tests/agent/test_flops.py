"""Operations counted in layers against torch's own counter of every product."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.flops import Flops
from agent.policy import Policy
from envs.types import Observation

CHOICES = ("turn left", "turn right", "go forward")


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The bundled model, on one thread: torch's counter sees no others."""
    return Policy(ModelSettings(path="pilot", threads=1), LoraSettings(last_layers=2))


def asked(policy: Policy, count: int) -> list[Any]:
    """Prompts with a picture each, never seen before."""
    pictures = np.random.default_rng(0).integers(0, 256, (count, 56, 56, 3), dtype=np.uint8)
    return [policy.ask(Observation("<image>go to the red ball", (picture,)), CHOICES) for picture in pictures]


def counted(policy: Policy, work: Callable[[], Any]) -> tuple[float, float]:
    """Ours and torch's, of the same work, nothing kept from before. Attention in its parts: torch counts no fused one
    on a CPU."""
    policy.forget()
    before = policy.flops
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
        work()
    return policy.flops - before, float(mode.get_total_flops())


def scoring(policy: Policy, count: int) -> Callable[[], Any]:
    samples = asked(policy, count)

    def work() -> None:
        with torch.no_grad():
            policy.score(samples)

    return work


def updating(policy: Policy, count: int) -> Callable[[], Any]:
    samples = asked(policy, count)

    def work() -> None:
        table = policy.score(samples).table
        assert table is not None
        torch.autograd.grad(table.sum(), policy.parameters())

    return work


@pytest.mark.parametrize("work", [scoring, updating], ids=["a scoring forward", "forward and backward of an update"])
def test_within_15_percent_of_torch_s_counter(work: Callable[..., Any], policy: Policy) -> None:
    """Attention's own products are what is left out."""
    policy.fork()
    ours, torchs = counted(policy, work(policy, 8))
    assert torchs > 1e7
    assert ours == pytest.approx(torchs, rel=0.15)
    assert ours < torchs


def test_an_update_s_backward_is_counted(policy: Policy) -> None:
    """Below the adapted layers nothing flows back: it costs less than another forward and a half, but it costs."""
    policy.fork()
    forward, _ = counted(policy, scoring(policy, 8))
    both, _ = counted(policy, updating(policy, 8))
    assert 1.2 * forward < both < 3 * forward


@pytest.mark.parametrize("work", [scoring, updating])
def test_twice_the_batch_is_twice_the_operations(work: Callable[..., Any], policy: Policy) -> None:
    policy.fork()
    once, twice = (counted(policy, work(policy, count))[0] for count in (4, 8))
    assert twice == pytest.approx(2 * once, rel=0.02)


def test_what_is_kept_costs_nothing_again(policy: Policy) -> None:
    """The lower layers' states and the pictures' features are computed once."""
    work = scoring(policy, 4)
    fresh, _ = counted(policy, work)
    before = policy.flops
    work()
    assert policy.flops - before < 0.7 * fresh


def test_layers_by_hand() -> None:
    """A linear layer 3 -> 5 on 4 rows: 2 * 3 * 5 * 4 = 120; its backward 120 for the weight, and 120 for an input that
    takes a gradient. A convolution 2 -> 4 of 3 x 3 on 5 x 5 places: 2 * 18 * 4 * 25 = 3600."""
    linear, conv = nn.Linear(3, 5), nn.Conv2d(2, 4, 3, padding=1)
    flops = Flops(nn.ModuleList([linear, conv]))

    def of(work: Callable[[], Any]) -> float:
        before = flops.total
        work()
        return flops.total - before

    rows = torch.zeros(4, 3)
    assert of(lambda: linear(rows)) == 240
    assert of(lambda: linear(torch.zeros(4, 3, requires_grad=True))) == 360
    linear.weight.requires_grad_(False)
    assert of(lambda: linear(rows)) == 120
    with torch.no_grad():
        assert of(lambda: conv(torch.zeros(1, 2, 5, 5))) == 3600
