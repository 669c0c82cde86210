"""Steps with a backward of their own against plain autograd, and a tower of them against the family's own layers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from agent.lvlm import checkpoint
from agent.lvlm.adapters import CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.fused import Norm, Turn, norm, turn
from agent.lvlm.tower import Inputs, LlamaTower
from agent.policy import Policy


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_gradients_are_those_that_differences_give() -> None:
    """In float64, against finite differences; cosines and sines need not belong to one angle, nor rows be alike."""
    x, weight = drawn(2, 3, 6).requires_grad_(), drawn(6, seed=1)
    assert torch.autograd.gradcheck(lambda x: Norm.apply(x, weight, 1e-3), (x,))
    heads, angles = drawn(2, 3, 2, 4).requires_grad_(), (drawn(2, 3, 1, 4, seed=1), drawn(2, 3, 1, 4, seed=2))
    assert torch.autograd.gradcheck(lambda heads: Turn.apply(heads, *angles), (heads,))
    assert torch.autograd.gradcheck(lambda heads: Turn.apply(heads, *(part[:1] for part in angles)), (heads,))


def test_a_wrong_backward_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned on instead of back."""
    cos, sin = drawn(1, 3, 1, 4, seed=1), drawn(1, 3, 1, 4, seed=2)
    heads = drawn(2, 3, 2, 4).requires_grad_()
    right = Turn.backward
    monkeypatch.setattr(Turn, "backward", staticmethod(lambda ctx, given: tuple(
        None if part is None else 2 * given * cos - part for part in right(ctx, given)
    )))  # fmt: skip
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(lambda heads: Turn.apply(heads, cos, sin), (heads,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_numbers_are_turned_to_the_family_s_last_bit(dtype: torch.dtype) -> None:
    """A fused product is rounded once where the family rounds twice: in float32 nobody sees it, here the trial does."""
    heads, cos, sin = (drawn(*shape, dtype=dtype) for shape in ((2, 9, 2, 16), (2, 9, 16), (2, 9, 16)))
    theirs, _ = apply_rotary_pos_emb(heads.transpose(1, 2), heads.transpose(1, 2), cos, sin)
    spelt = (part[:, :, None].repeat(1, 1, 3, 1) for part in (cos, sin))
    assert torch.equal(turn(heads, *spelt), theirs.transpose(1, 2))


def test_the_quick_way_is_taken_in_bfloat16(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "fast_dtype", lambda _: torch.bfloat16)
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    assert policy.checkpoint.model.dtype == torch.bfloat16
    assert policy.engine.tower is not None


def test_turning_is_the_family_s() -> None:
    heads, cos, sin = (
        drawn(*shape, seed=seed, dtype=torch.float32) for seed, shape in enumerate(((2, 3, 2, 4), (2, 3, 4), (2, 3, 4)))
    )
    theirs, _ = apply_rotary_pos_emb(heads.transpose(1, 2), heads.transpose(1, 2), cos, sin)
    assert torch.allclose(
        turn(heads, cos[:, :, None].expand(-1, -1, 3, -1), sin[:, :, None].expand(-1, -1, 3, -1)),
        theirs.transpose(1, 2),
        atol=1e-6,
    )


@pytest.mark.parametrize("frozen", [True, False])
def test_a_norm_that_learns_gets_its_gradient(frozen: bool) -> None:
    """Only a frozen one is taken in one step."""
    module = LlamaRMSNorm(6).requires_grad_(not frozen)
    x = drawn(2, 3, 6, dtype=torch.float32).requires_grad_()
    carried, normed = norm(module, x)
    assert (type(normed.grad_fn).__name__ == "NormBackward") == frozen
    assert torch.equal(normed, module(x))
    (carried.sum() + (normed**2).sum()).backward()
    assert (module.weight.grad is None) == frozen
    given, x.grad = x.grad, None
    (x.sum() + (module(x) ** 2).sum()).backward()
    assert given is not None
    assert x.grad is not None
    assert torch.allclose(given, x.grad, atol=1e-5)


def test_other_norms_and_other_numbers_stay_as_they_are() -> None:
    x = drawn(2, 3, 6, dtype=torch.float32)
    other, half = nn.LayerNorm(6).requires_grad_(False), LlamaRMSNorm(6).to(torch.bfloat16).requires_grad_(False)
    for module, given in ((other, x), (half, x.to(torch.bfloat16))):
        carried, normed = norm(module, given)
        assert carried is given
        assert torch.equal(normed, module(given))


class Theirs(LlamaTower):
    """The family's own layers, cut to what is wanted at the end."""

    def upper(self, inputs: Inputs, hidden: Tensor) -> Tensor:
        """See `LlamaTower`; plain positions, or those given."""
        length = hidden.shape[1]
        positions = torch.arange(length)[None] if inputs.positions is None else inputs.positions
        turns = self.tower.rotary_emb(hidden, positions)
        mask = None if inputs.seen is None else inputs.seen[:, None]
        for layer in self.tower.layers:
            hidden = layer(hidden, attention_mask=mask, position_embeddings=turns)
        return self.tower.norm(hidden.gather(1, inputs.wanted[..., None].expand(-1, -1, hidden.shape[-1])))


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("branches", [False, True])
def test_a_tower_says_and_learns_what_the_family_s_own_layers_do(
    merged: bool, branches: bool, tiny_folder: Path
) -> None:
    """Loss and gradients of every factor and of the embeddings, with the adapter added in and apart."""
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    policy.fork()
    with torch.no_grad():
        for number, tensor in enumerate(policy.adapters.tensors(CANDIDATE).values()):
            tensor += 0.1 * drawn(*tensor.shape, seed=number, dtype=torch.float32)
    tower = policy.checkpoint.text_tower
    width = policy.engine.embed.weight.shape[1]
    embeds = (0.1 * drawn(3, 7, width, dtype=torch.float32)).requires_grad_()
    seen = positions = None
    if branches:  # the last two tokens are children of one parent
        seen, positions = torch.ones(3, 7, 7, dtype=torch.bool).tril(), torch.tensor([[0, 1, 2, 3, 4, 5, 5]] * 3)
        seen[:, 6, 5] = False
    inputs = Inputs(embeds, torch.tensor([[4, 5, 6]] * 3), seen, positions)
    goal = drawn(3, 3, width, dtype=torch.float32, seed=9)

    def learned(some: LlamaTower) -> list[Tensor]:
        loss = (some.upper(inputs, embeds) * goal).mean()
        return [loss, *torch.autograd.grad(loss, [embeds, *policy.parameters()])]

    with policy.adapters.merged() if merged else policy.using(CANDIDATE):
        ours, theirs = learned(LlamaTower(tower, 0)), learned(Theirs(tower, 0))
    assert all(float(part.detach().abs().max()) > 1e-4 for part in theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)
