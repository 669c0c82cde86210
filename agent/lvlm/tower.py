"""Running a language tower only where a result is looked at.

Two savings, both exact. The last layer is computed at the wanted positions alone (their keys and values still come from
every position). And where adapters sit only in the upper layers, what the lower ones make of a prompt never changes: it
is computed once per prompt and kept.

`LlamaTower` runs Llama-like layers one by one, and is used only if it gives the same numbers as the family's own
forward on a trial at load.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from agent.lvlm.fused import norm, turn


@dataclass(frozen=True, slots=True)
class Inputs:
    """A right-padded batch.

    Attributes:
        embeds: `[B, L, hidden]`, wanted where the lower layers have not been run yet.
        wanted: int64 `[B, W]`, positions at which states are looked at.
        seen: bool `[B, L, L]`, who looks at whom, or None for plain causal.
        positions: int64 `[B, L]`, or None for 0..L-1.
    """

    embeds: Tensor
    wanted: Tensor
    seen: Tensor | None = None
    positions: Tensor | None = None


class LlamaTower:
    """Llama-like layers: pre-norm, rotary positions, gated MLP, no sliding window.

    Attributes:
        split: the layer below which nothing is adapted, so that results can be kept; 0 means none.
    """

    def __init__(self, tower: Any, split: int) -> None:
        self.tower = tower
        self.split = split

    @torch.no_grad()
    def lower(self, inputs: Inputs) -> Tensor:
        """States `[B, L, hidden]` before layer `split`; no gradient."""
        hidden, turns = inputs.embeds, self._turns(inputs, inputs.embeds)
        for layer in self.tower.layers[: self.split]:
            hidden = _layer(layer, hidden, turns, inputs.seen)
        return hidden

    def upper(self, inputs: Inputs, hidden: Tensor) -> Tensor:
        """Normalised states `[B, W, hidden]` at the wanted positions, from those before layer `split`."""
        turns = self._turns(inputs, hidden)
        for layer in self.tower.layers[self.split : -1]:
            hidden = _layer(layer, hidden, turns, inputs.seen)
        return self.tower.norm(_layer(self.tower.layers[-1], hidden, turns, inputs.seen, inputs.wanted))

    def _turns(self, inputs: Inputs, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines `[B, L, H, D]` of each position's angles, B = 1 where all rows have the same.

        Spelt out for each head: products run through them without a break.
        """
        positions = inputs.positions
        if positions is None:
            positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        cos, sin = self.tower.rotary_emb(hidden, positions)
        heads = self.tower.config.num_attention_heads
        return cos[:, :, None].repeat(1, 1, heads, 1), sin[:, :, None].repeat(1, 1, heads, 1)


def _layer(
    layer: Any, hidden: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor | None, wanted: Tensor | None = None
) -> Tensor:
    """States behind a layer, `[B, L, hidden]`, or `[B, W, hidden]` where only some are wanted."""
    attention, (batch, length, _), (cos, sin) = layer.self_attn, hidden.shape, turns

    def heads(states: Tensor) -> Tensor:
        return states.view(*states.shape[:2], -1, attention.head_dim)

    hidden, normed = norm(layer.input_layernorm, hidden)
    key, value = turn(heads(attention.k_proj(normed)), cos, sin), heads(attention.v_proj(normed))
    if wanted is not None:
        cos, sin = (heads(at(part.flatten(2).expand(batch, -1, -1), wanted)) for part in turns)
        causal = torch.arange(length, device=hidden.device) <= wanted[..., None]
        seen = causal if seen is None else at(seen, wanted)
        hidden, normed = at(hidden, wanted), at(normed, wanted)
    query = turn(heads(attention.q_proj(normed)), cos, sin)
    mixed = scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=None if seen is None else seen[:, None],
        is_causal=seen is None,
        scale=attention.scaling,
        enable_gqa=query.shape[2] != key.shape[2],
    )
    hidden = hidden + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    hidden, normed = norm(layer.post_attention_layernorm, hidden)
    return hidden + layer.mlp(normed)


def at(states: Tensor, wanted: Tensor) -> Tensor:
    """Rows of `[B, L, *]` at positions `[B, W]`: `[B, W, *]`."""
    return states.gather(1, wanted[..., None].expand(-1, -1, states.shape[-1]))
