"""Parts of a Llama layer as one step each, with their backward in closed form: fewer passes over memory."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Norm(torch.autograd.Function):
    """`x`, to be carried on, and its RMS norm (arXiv 1910.07467) times a frozen weight.

    With u = x / rms and h = g * weight, the gradient is (h - u mean(h * u)) / rms, and what comes back for `x` itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, scale, weight)
        return x, (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, carried: Tensor, given: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        inner = given * weight
        along = (inner * x).mean(-1, keepdim=True) * scale**3
        return torch.addcmul(carried, inner, scale).addcmul_(x, along, value=-1), None, None


class Turn(torch.autograd.Function):
    """Rotary positions (arXiv 2104.09864); the way back turns by the opposite angle."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """All `[B, L, H, D]`, or such that they fit."""
        ctx.save_for_backward(cos, sin)
        half = heads.shape[-1] // 2
        turned = heads * cos
        turned[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
        turned[..., half:].addcmul_(heads[..., :half], sin[..., half:])
        return turned

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        half = given.shape[-1] // 2
        back = given * cos
        back[..., :half].addcmul_(given[..., half:], sin[..., half:])
        back[..., half:].addcmul_(given[..., :half], sin[..., :half], value=-1)
        return back, None, None


def norm(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """`x`, to be carried on, and what `module` makes of it: in one step where it is a frozen RMS norm in float32."""
    epsilon = getattr(module, "variance_epsilon", None)
    if epsilon is None or x.dtype != torch.float32 or any(weight.requires_grad for weight in module.parameters()):
        return x, module(x)
    carried, normed = Norm.apply(x, module.weight, epsilon)
    return carried, normed


def turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`heads` `[B, L, H, D]` turned by the angles of their positions: `cos` and `sin` for as many heads or more.

    In one step only in float32: of shorter numbers the family rounds each product, and so must we.
    """
    cos, sin = cos[:, :, : heads.shape[2]], sin[:, :, : heads.shape[2]]
    if heads.dtype != torch.float32:
        first, second = heads.chunk(2, -1)
        return heads * cos + torch.cat((-second, first), -1) * sin
    turned: Tensor = Turn.apply(heads, cos, sin)
    return turned
