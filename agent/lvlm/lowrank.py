"""A LoRA layer that runs and learns through one product: that of its weight with the adapter added in.

With y = x W'.T and W' = W + s B A the gradients are dx = g W', dA = s (g B).T x and dB = s g.T (x A.T). Where the
adapter stands apart, two thin products and two sums over the output are paid beside the weight's, and again backwards.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable


class LowRank(torch.autograd.Function):
    """`x @ total.T + bias`, with the gradients of what `total` was made of."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, total: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        """`total` `[out, in]` is the weight plus `scaling * up @ down`; `down` `[r, in]` and `up` `[out, r]` learn."""
        ctx.save_for_backward(x, total, down, up)
        ctx.scaling = scaling
        return torch.nn.functional.linear(x, total, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        x, total, down, up = ctx.saved_tensors
        for_x = given @ total if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[3]:
            return for_x, None, None, None, None, None
        given, x = given.flatten(0, -2), x.flatten(0, -2)
        for_down = (given @ up).mul_(ctx.scaling).T @ x
        for_up = (given.T @ (x @ down.T)).mul_(ctx.scaling)
        return for_x, None, None, for_down, for_up, None


class MergedLinear(Linear):
    """PEFT's layer.

    Attributes:
        total: its weight with the active adapter added in; while it is there, it is what runs.
    """

    total: Tensor | None = None

    def forward(self, x: Tensor, *given: Any, **named: Any) -> Tensor:
        """See PEFT."""
        if self.total is None:
            return super().forward(x, *given, **named)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        return LowRank.apply(x, self.total, self.base_layer.bias, down, up, self.scaling[name])
