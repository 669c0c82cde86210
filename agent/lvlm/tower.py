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
        return self._through(self.tower.layers[: self.split], inputs, inputs.embeds)

    def upper(self, inputs: Inputs, hidden: Tensor) -> Tensor:
        """Normalised states `[B, W, hidden]` at the wanted positions, from those before layer `split`."""
        hidden = self._through(self.tower.layers[self.split : -1], inputs, hidden)
        return self.tower.norm(self._last(self.tower.layers[-1], inputs, hidden))

    def _through(self, layers: Any, inputs: Inputs, hidden: Tensor) -> Tensor:
        rotary = self.tower.rotary_emb(hidden, self._positions(inputs, hidden))
        mask = None if inputs.seen is None else inputs.seen[:, None]
        for layer in layers:
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        return hidden

    def _last(self, layer: Any, inputs: Inputs, hidden: Tensor) -> Tensor:
        attention, (batch, length, _) = layer.self_attn, hidden.shape
        cos, sin = self.tower.rotary_emb(hidden, self._positions(inputs, hidden))
        normed = layer.input_layernorm(hidden)

        def heads(states: Tensor) -> Tensor:
            return states.view(batch, states.shape[1], -1, attention.head_dim).transpose(1, 2)

        query = turn(heads(attention.q_proj(at(normed, inputs.wanted))), at(cos, inputs.wanted), at(sin, inputs.wanted))
        key, value = turn(heads(attention.k_proj(normed)), cos, sin), heads(attention.v_proj(normed))
        if inputs.seen is None:
            seen = torch.arange(length, device=hidden.device) <= inputs.wanted[..., None]
        else:
            seen = at(inputs.seen, inputs.wanted)
        mixed = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen[:, None],
            scale=attention.scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        hidden = at(hidden, inputs.wanted) + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))

    def _positions(self, inputs: Inputs, hidden: Tensor) -> Tensor:
        if inputs.positions is not None:
            return inputs.positions
        return torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[0], -1)


def at(states: Tensor, wanted: Tensor) -> Tensor:
    """Rows of `[B, L, *]` at positions `[B, W]`: `[B, W, *]`."""
    return states.gather(1, wanted[..., None].expand(-1, -1, states.shape[-1]))


def turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864): `heads` `[B, H, W, D]`, `cos` and `sin` `[B, W, D]`."""
    half = heads.shape[-1] // 2
    turned = torch.cat((-heads[..., half:], heads[..., :half]), dim=-1)
    return heads * cos[:, None] + turned * sin[:, None]
