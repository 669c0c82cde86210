"""A backward pass that is shared gives the gradients of one that is not."""

from collections.abc import Sequence

import pytest
import torch

from agent.lvlm.crew import Crew
from agent.sharing import shared


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_those_of_one_pass(threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 3, generator=generator)
    weight, unused, other = (torch.randn(3, generator=generator, requires_grad=True) for _ in range(3))

    def work(part: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        seen = rows[list(part)]
        return (seen * weight).sum(1).tanh(), (seen @ other).exp()

    def loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first * torch.arange(5)).sum() + (second**2).mean()

    expected = torch.autograd.grad(loss(*work(range(5))), (weight, other))
    told = shared(work, [[0, 1], [2, 3, 4]], Crew(threads), [weight, unused, other])
    assert all(torch.allclose(a, b) for a, b in zip(told, work(range(5)), strict=True))
    loss(*told).backward()
    assert torch.allclose(weight.grad, expected[0], rtol=1e-5)
    assert torch.allclose(other.grad, expected[1], rtol=1e-5)
    assert unused.grad is None
