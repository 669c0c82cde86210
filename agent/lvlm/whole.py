"""The family's own forward, handed pictures that were looked at before: right for every family.

Rows with pictures and rows without run apart: what a family does to a batch for a picture's sake never touches a row
without one.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.families import behind, looks_across, takes, turns_by_grid
from agent.lvlm.rows import Picture, Row, branches


class Whole:
    """Runs a checkpoint's body over rows.

    Attributes:
        branches: whether a row's branches may stand side by side under a mask; else a prompt is run again for each.
    """

    def __init__(self, checkpoint: Checkpoint, pad: int) -> None:
        self.body = checkpoint.model.base_model
        self.model_type = checkpoint.model.config.model_type
        self.across = looks_across(checkpoint.model)
        self.by_grid = turns_by_grid(checkpoint.model)
        self.pad = pad
        self.branches = False

    def states(self, rows: Sequence[Row], most_tokens: int) -> list[Tensor]:
        """Last hidden states `[1 + N, hidden]` of each row: at its prompt's last position and each appended token.

        In forwards of `most_tokens` or less, padding included.
        """
        all_ways = [[list(range(len(row.appended)))] if self.branches else row.chains() for row in rows]
        ways = [(i, way) for i, of_row in enumerate(all_ways) for way in of_row]
        found: list[list[Tensor | None]] = [[None] * (1 + len(row.appended)) for row in rows]
        for group in self.groups([rows[i] for i, _ in ways]):
            longest = max(len(rows[i].prompt) + len(way) for i, way in (ways[n] for n in group))
            for some in batched(group, max(1, most_tokens // longest)):
                batch = [(rows[i], rows[i].appended[way]) for i, way in (ways[n] for n in some)]
                inputs, mask = self.inputs(batch, left=False)
                if self.branches and not all(row.is_chain for row, _ in batch):
                    mask = self._side_by_side([row for row, _ in batch], inputs, mask)
                states = self.body(attention_mask=mask, use_cache=False, **inputs).last_hidden_state
                for n, of_way in zip(some, states, strict=True):
                    i, way = ways[n]
                    for place, state in zip([-1, *way], of_way[len(rows[i].prompt) - 1 :], strict=False):
                        found[i][place + 1] = state
        return [torch.stack([state for state in row if state is not None]) for row in found]

    def _side_by_side(self, rows: Sequence[Row], inputs: dict[str, Any], mask: Tensor) -> Tensor:
        """Put the positions of branches into `inputs`, and return the mask of who sees whom, `[B, 1, L, L]`."""
        seen, positions = (part.to(mask.device) for part in branches(rows, mask.shape[1]))
        if self.by_grid and rows[0].pictures:
            known = {name: inputs[name] for name in takes(self.body.get_rope_index) & set(inputs)}
            by_grid, _ = self.body.get_rope_index(attention_mask=mask, **known)
            for i, row in enumerate(rows):
                start, end = len(row.prompt), len(row)
                if end > start:
                    by_grid[:, i, start:end] = by_grid[:, i, start, None] + positions[i, start:end] - start
            positions = by_grid
        inputs["position_ids"] = positions
        unseen = torch.zeros(seen.shape, dtype=self.body.dtype, device=mask.device)
        return unseen.masked_fill(~seen, torch.finfo(unseen.dtype).min)[:, None]

    def groups(self, rows: Sequence[Row]) -> list[list[int]]:
        """Numbers of rows that can run together."""
        by_pictures: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            count = len(row.pictures) if self.across else int(bool(row.pictures))
            by_pictures.setdefault(count, []).append(i)
        return list(by_pictures.values())

    def inputs(self, batch: Sequence[tuple[Row, np.ndarray]], left: bool) -> tuple[dict[str, Any], Tensor]:
        """What the body takes for prompts with chains behind them, and the mask of real tokens `[B, L]`."""
        ids = [torch.from_numpy(np.concatenate([row.prompt.ids, chain])) for row, chain in batch]
        inputs: dict[str, Any] = {"input_ids": padded(ids, left, self.pad)}
        for name in batch[0][0].prompt.tokens:
            values = [behind(self.model_type, name, row.prompt.tokens[name], len(chain)) for row, chain in batch]
            inputs[name] = padded(values, left, 0)
        for name in batch[0][0].prompt.images:
            inputs[name] = torch.cat([row.prompt.images[name] for row, _ in batch])
        pictures = [picture for row, _ in batch for picture in row.pictures]
        if pictures and self.across:
            inputs["cross_attention_states"] = torch.stack([part for p in pictures for part in p.parts])
        elif pictures:
            inputs["mm_encoder_outputs"] = {"image": handed_over(pictures)}
        mask = padded([torch.ones(len(row), dtype=torch.long) for row in ids], left, 0).to(self.body.device)
        return {k: v.to(self.body.device) if torch.is_tensor(v) else v for k, v in inputs.items()}, mask


class Telling:
    """Answers being written behind the prompts of rows of one group, padded on the left, with a cache.

    Attributes:
        states: `[B, hidden]` after the last token.
    """

    def __init__(self, whole: Whole, rows: Sequence[Row]) -> None:
        self.body = whole.body
        inputs, self.mask = whole.inputs([(row, row.appended) for row in rows], left=True)
        self.by_grid = whole.by_grid and bool(rows[0].pictures)
        place = (self.mask.cumsum(1) - 1).clamp(min=0)
        if not self.by_grid:
            inputs["position_ids"] = place
        out = self.body(attention_mask=self.mask, use_cache=True, **inputs)
        self.place = place[:, -1:] + (self.body.rope_deltas if self.by_grid else 0)
        self.carried = {name: mask[:, -1:] for name, mask in inputs.items() if name == "cross_attention_mask"}
        self.cache, self.states = out.past_key_values, out.last_hidden_state[:, -1]

    def tell(self, tokens: Sequence[int], behind: Sequence[int]) -> None:
        """Write a token each behind these rows, which then are all there are; one may be gone on with several times."""
        if list(behind) != list(range(len(self.mask))):
            self._keep(torch.tensor(behind, device=self.mask.device))
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        self.place = self.place + 1
        out = self.body(
            input_ids=torch.tensor(tokens, device=self.mask.device)[:, None],
            attention_mask=self.mask,
            position_ids=self.place.expand(3, -1, -1) if self.by_grid else self.place,
            past_key_values=self.cache,
            use_cache=True,
            **self.carried,
        )
        self.cache, self.states = out.past_key_values, out.last_hidden_state[:, -1]

    def _keep(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.mask, self.place = self.mask[rows], self.place[rows]
        self.carried = {name: mask[rows] for name, mask in self.carried.items()}


def handed_over(pictures: Sequence[Picture]) -> SimpleNamespace:
    """What `get_image_features` would have said of these pictures together."""
    parts = [part for picture in pictures for part in picture.parts]
    deep = [[part for crops in level for part in crops] for level in zip(*(p.deep for p in pictures), strict=True)]
    return SimpleNamespace(
        pooler_output=torch.stack(parts) if pictures[0].stacked else parts, deepstack_features=deep or None
    )


def batched(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Pieces of `size` or less."""
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def padded(rows: Sequence[Tensor], left: bool, value: int) -> Tensor:
    """Rows `[L, ...]` of several lengths as `[B, longest, ...]`."""
    side = "left" if left else "right"
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)
