"""Scores whose backward pass is shared by the crew, for training loops that call `backward` themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from agent.lvlm.crew import Crew

Part = Sequence[int]


class _Shared(torch.autograd.Function):
    """Forward: each part by its own graph. Backward: the parts side by side, their gradients summed."""

    @staticmethod
    def forward(
        ctx: Any, work: Callable[[Part], Sequence[Tensor]], parts: Sequence[Part], crew: Crew, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.told = [tuple(work(part)) for part in parts]
        ctx.crew, ctx.parameters = crew, parameters
        return tuple(torch.cat([tensor.detach() for tensor in column]) for column in zip(*ctx.told, strict=True))

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        lengths = [len(told[0]) for told in ctx.told]
        by_part = list(zip(*(tensor.split(lengths) for tensor in given), strict=True))

        def derive(number: int) -> Sequence[Tensor | None]:
            return torch.autograd.grad(ctx.told[number], ctx.parameters, by_part[number], allow_unused=True)

        gradients = ctx.crew.map(derive, range(len(lengths)))
        return None, None, None, *(_sum(of_one) for of_one in zip(*gradients, strict=True))


def shared(
    work: Callable[[Part], Sequence[Tensor]], parts: Sequence[Part], crew: Crew, parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """What `work` gives of each part, concatenated; `backward` gives `parameters` the same gradients as without.

    Args:
        work: tensors `[len(part), ...]` that carry gradients to `parameters` and to nothing else.
    """
    return _Shared.apply(work, parts, crew, *parameters)


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    there = [gradient for gradient in gradients if gradient is not None]
    return torch.stack(there).sum(0) if there else None
