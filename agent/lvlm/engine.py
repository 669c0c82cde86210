"""The one forward pass that samples and scores: rows of prompt, picture features and appended tokens -> logits.

Rows are padded on the right: in a causal model no real token looks at what stands behind it, so neither mask nor
shifted positions are needed, and a row's result does not depend on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.choices import ChoiceTree
from agent.lvlm.tower import Inputs, Kept, choose_tower


@dataclass(frozen=True, slots=True)
class Row:
    """What one forward row holds.

    Attributes:
        prompt: ids with expanded image places, int64 `[L]`.
        features: of its pictures, in order, `[tokens, hidden]` each.
        pictures: content hashes of its pictures.
        appended: ids behind the prompt, int64 `[N]`; logits are wanted at the prompt's last position and at each.
        tree: where the appended tokens are a tree and not a chain, its shape.
    """

    prompt: np.ndarray
    features: list[torch.Tensor]
    pictures: tuple[bytes, ...]
    appended: np.ndarray
    tree: ChoiceTree | None = None

    def __len__(self) -> int:
        return len(self.prompt) + len(self.appended)

    @property
    def key(self) -> bytes:
        """Names the row by all it holds."""
        branches = repr(self.tree.parents).encode() if self.tree and not self.tree.is_chain else b""
        return b"|".join((self.prompt.tobytes(), self.appended.tobytes(), branches, *self.pictures))


class Engine:
    """Runs a checkpoint's language tower over rows."""

    def __init__(self, checkpoint: Checkpoint, pad: int, first_adapted_layer: int, keep_bytes: int) -> None:
        self.model = checkpoint.model
        self.whole = checkpoint.text_tower
        self.tower = choose_tower(self.whole, first_adapted_layer)
        self.kept = Kept(keep_bytes)
        self.embed = self.model.get_input_embeddings()
        self.head = self.model.get_output_embeddings()
        self.image_token = checkpoint.image_token
        self.pad = pad

    def logits(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """Logits `[1 + N, vocabulary]` of each row: after its prompt, and after each appended token."""
        states = self.states(rows)
        wanted = [states[i, : 1 + len(row.appended)] for i, row in enumerate(rows)]
        return list(self.head(torch.cat(wanted)).split([len(w) for w in wanted]))

    def states(self, rows: Sequence[Row]) -> torch.Tensor:
        """Last hidden states `[B, W, hidden]` at each row's wanted positions, padded on the right."""
        inputs = self._inputs(rows, embedded=not self.tower.split)
        if not self.tower.split:
            return self.tower.upper(inputs, inputs.embeds)
        keys = [row.key for row in rows]
        kept = [self.kept.get(key) for key in keys]
        missing = [i for i, states in enumerate(kept) if states is None]
        if missing:
            some = [rows[i] for i in missing]
            lower = self.tower.lower(self._inputs(some, embedded=True))
            for i, states in zip(missing, lower, strict=True):
                kept[i] = states[: len(rows[i])].clone()
            self.kept.put([keys[i] for i in missing], [s for i in missing if (s := kept[i]) is not None])
        hidden = torch.nn.utils.rnn.pad_sequence([s for s in kept if s is not None], batch_first=True)
        return self.tower.upper(inputs, hidden)

    def _inputs(self, rows: Sequence[Row], embedded: bool) -> Inputs:
        """The padded batch, with token embeddings if they are needed."""
        longest = max(len(row) for row in rows)
        widest = max(1 + len(row.appended) for row in rows)
        wanted = [[min(len(row.prompt) - 1 + w, len(row) - 1) for w in range(widest)] for row in rows]
        embeds = torch.empty(0)
        if embedded:
            ids = np.full((len(rows), longest), self.pad, dtype=np.int64)
            for i, row in enumerate(rows):
                ids[i, : len(row.prompt)] = row.prompt
                ids[i, len(row.prompt) : len(row)] = row.appended
            embeds = self.embeds(torch.from_numpy(ids), [f for row in rows for f in row.features])
        return Inputs(embeds, torch.tensor(wanted), *self._shape(rows, longest))

    def embeds(self, ids: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Token embeddings `[B, L, hidden]` with the features at the image places, in order."""
        embeds = self.embed(ids)
        if features:
            places = (ids == self.image_token)[..., None]
            embeds = embeds.masked_scatter(places, torch.cat(features).to(embeds.dtype))
        return embeds

    def _shape(self, rows: Sequence[Row], longest: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Who sees whom, and positions; only where some row's appended tokens are not a chain."""
        if all(row.tree is None or row.tree.is_chain for row in rows):
            return None, None
        seen = torch.ones(longest, longest, dtype=torch.bool).tril().repeat(len(rows), 1, 1)
        positions = torch.arange(longest).repeat(len(rows), 1)
        for i, row in enumerate(rows):
            if row.tree is None:
                continue
            start = len(row.prompt)
            seen[i, start : len(row), start:] = False
            for n, parent in enumerate(row.tree.parents):
                if parent >= 0:
                    seen[i, start + n, start:] = seen[i, start + parent, start:]
                seen[i, start + n, start + n] = True
                positions[i, start + n] = start if parent < 0 else positions[i, start + parent] + 1
        return seen, positions

    @torch.no_grad()
    def sample(
        self, rows: Sequence[Row], longest: int, end: int, rngs: Sequence[np.random.Generator], banned: Sequence[int]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sample open answers at temperature 1 from the whole vocabulary less `banned`.

        Returns:
            For each row its ids, int64 `[T]` (the end token last, unless `longest` was reached), and their log-probs.
        """
        prompts = [row.prompt for row in rows]
        width = max(len(p) for p in prompts)
        ids = torch.full((len(rows), width), self.pad)
        mask = torch.zeros(len(rows), width + longest, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = torch.from_numpy(prompt)
            mask[i, width - len(prompt) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        embeds, cache = self.embeds(ids, [f for row in rows for f in row.features]), None
        tokens: list[list[int]] = [[] for _ in rows]
        log_probs: list[list[float]] = [[] for _ in rows]
        for t in range(longest):
            now, upto = embeds.shape[1], width + t
            out = self.whole(
                inputs_embeds=embeds,
                attention_mask=mask[:, :upto],
                position_ids=positions[:, upto - now : upto],
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            table = self.open_log_probs(self.head(out.last_hidden_state[:, -1]), banned).numpy()
            chosen = [end if row and row[-1] == end else draw(table[i], rngs[i]) for i, row in enumerate(tokens)]
            for i, token in enumerate(chosen):
                if not tokens[i] or tokens[i][-1] != end:
                    tokens[i].append(token)
                    log_probs[i].append(float(table[i, token]))
            if all(row[-1] == end for row in tokens):
                break
            embeds = self.embed(torch.tensor(chosen)[:, None])
        return [(np.array(t), np.array(p, dtype=np.float32)) for t, p in zip(tokens, log_probs, strict=True)]

    @staticmethod
    def open_log_probs(logits: torch.Tensor, banned: Sequence[int]) -> torch.Tensor:
        """Log-probs `[..., V]` over the vocabulary less the `banned` ids (an image token breaks the next forward)."""
        logits = logits.float().clone()
        logits[..., list(banned)] = -torch.inf
        return torch.log_softmax(logits, dim=-1)


def draw(log_probs: np.ndarray, rng: np.random.Generator) -> int:
    """Sample an index from log-probs `[K]` with one uniform number, so that a seed gives one answer."""
    cumulative = np.cumsum(np.exp(log_probs.astype(np.float64)))
    return int(min(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"), len(cumulative) - 1))
