"""Floating-point operations of a model, counted where they happen: in its linear and convolution layers.

A product with a weight is 2 operations for each of its numbers and each position; its backward is as much again for the
input, and as much again for the weight, where either takes a gradient. Attention's own products are left out: a tenth
with the bundled model's prompts. No clock is read, so that a decision may rest on it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from agent.lvlm.lowrank import MergedLinear

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], None]


class Flops:
    """Counts the operations of every linear and convolution layer of `model`, those of adapters too."""

    def __init__(self, model: nn.Module) -> None:
        self._counted: list[float] = []  # appending is safe in any thread, adding is not
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                module.register_forward_hook(self._hook(module.weight))
            elif isinstance(module, MergedLinear):
                module.register_forward_hook(self._count_merged)

    @property
    def total(self) -> float:
        """Operations so far."""
        self._counted = [sum(self._counted)]
        return self._counted[0]

    def back_to(self, total: float) -> None:
        """Count on from an earlier total: what happened since is not to be counted here."""
        self._counted = [total]

    def _hook(self, weight: Tensor) -> Hook:
        each = 2.0 * weight[0].numel()

        def count(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
            times = 1
            if torch.is_grad_enabled():
                times += given[0].requires_grad + module.weight.requires_grad
            self._counted.append(each * out.numel() * times)

        return count

    def _count_merged(self, layer: MergedLinear, given: tuple[Any, ...], out: Tensor) -> None:
        """What runs merged is not seen inside: its one product, and backwards the adapter's four thin ones."""
        if layer.total is None:
            return
        positions, product = out.numel() / out.shape[-1], 2.0 * layer.total.numel()
        factor = layer.lora_A[layer.active_adapters[0]].weight
        if torch.is_grad_enabled():
            thin = 4.0 * len(factor) * sum(layer.total.shape)
            product += product * given[0].requires_grad + thin * factor.requires_grad
        self._counted.append(positions * product)
