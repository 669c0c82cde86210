"""The merged layer says and learns what PEFT's own says and learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from agent.batch import Sample
from agent.lvlm import adapters
from agent.lvlm.adapters import CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.lowrank import LowRank
from agent.policy import Policy
from envs.types import Choices, Observation


def test_gradients_are_those_that_differences_give() -> None:
    """Of x, of both factors, and none of weight and bias; in float64, against finite differences."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, down, up = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 3, 5), (4, 5), (4,), (2, 5), (4, 2))
    )

    def apart(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, weight, bias) + 1.5 * (x @ down.T) @ up.T

    def merged(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        total = (weight + 1.5 * up @ down).detach()
        return LowRank.apply(x, total, bias, down, up, 1.5)

    given = [part.requires_grad_() for part in (x, down, up)]
    assert torch.allclose(merged(*given), apart(*given))
    assert torch.autograd.gradcheck(merged, given)


@pytest.mark.parametrize("choices", [None, ("turn left", "turn right", "go")], ids=["open", "closed"])
@pytest.mark.parametrize("where", [{}, {"last_layers": 1}, {"projector": True, "vision": True}])
def test_a_policy_learns_the_same_either_way(
    where: dict[str, object], choices: Choices, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probs and gradients of all factors, with the adapter added in and apart, wherever it sits."""
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4).with_(**where))
    policy.fork()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CANDIDATE).values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    picture = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    asked = [Observation("<image>go to the red ball", (picture,)), Observation("say")]
    answers = [policy.prompter.answer(text) for text in ("turn left", "go")]
    samples = [Sample(o, choices, a, np.zeros(len(a), np.float32)) for o, a in zip(asked, answers, strict=True)]

    def learned(merged: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        with policy.adapters.merged():
            assert all((layer.total is not None) == merged for layer in policy.adapters._layers)
        sums = policy.score(samples).sums
        return sums, list(torch.autograd.grad(sums.sum(), policy.parameters()))

    together, ours = learned(merged=True)
    monkeypatch.setattr(adapters, "MERGE_LIMIT", 0)
    apart, theirs = learned(merged=False)
    assert torch.allclose(together, apart, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in theirs) > 0.01
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("limit", [adapters.MERGE_LIMIT, 0], ids=["merged", "apart"])
def test_its_operations_are_counted(limit: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the policy says it spent is what torch counts of matrix products, forward and backward."""
    monkeypatch.setattr(adapters, "MERGE_LIMIT", limit)
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    policy.fork()
    sample = policy.ask(Observation("say the word red ball"), ("turn left", "go"))
    policy.score([sample])  # what is added into the weights is made once
    spent = policy.flops
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(policy.score([sample]).sums.sum(), policy.parameters())
    counted = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    assert policy.flops - spent == counted["aten.mm"] + counted.get("aten.addmm", 0) > 0
