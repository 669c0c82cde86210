"""The one forward pass that samples and scores: rows of prompt, pictures and appended tokens -> logits.

Every family runs by its own forward (`Whole`). Where words and pictures in order are all that a family's body wants,
and its language tower is Llama's, the tower is run layer by layer (`LlamaTower`), which is the same and cheaper: a
trial at load decides. Rows are padded on the right: no real token looks at what stands behind it, so that a row's
result does not depend on its neighbours.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.crew import Crew
from agent.lvlm.families import find_finish, is_plain, masks_hold
from agent.lvlm.lower import LowerStates
from agent.lvlm.rows import Picture, Prompt, Row, Told, branches
from agent.lvlm.tower import Inputs, LlamaTower
from agent.lvlm.whole import Whole

TRIAL_TOLERANCE = 1e-4
TRIAL_TOKENS = 1024
TRIAL_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class Engine:
    """Runs a checkpoint over rows.

    Attributes:
        tower: the quick way, or None where only the family's own forward is right.
        crew: who shares a forward's rows. More than one only on a CPU and the quick way, which changes nothing but its
            results; what a family's own forward may leave in the model is not known.
    """

    def __init__(
        self, checkpoint: Checkpoint, pad: int, first_adapted_layer: int, keep_bytes: int, threads: int = 1
    ) -> None:
        self.model = checkpoint.model
        self.kept = LowerStates(keep_bytes)
        self.embed = self.model.get_input_embeddings()
        self.head = self.model.get_output_embeddings()
        self.image_token = checkpoint.image_token
        self.pad = pad
        self.whole = Whole(checkpoint, pad)
        some = self.trial_rows(sees=False)[0].prompt.ids
        self.finish = find_finish(self.model, torch.from_numpy(some)[None].to(self.device))
        self.whole.branches = masks_hold(self.model) and self._branches_hold()
        self.tower: LlamaTower | None = None
        quick = LlamaTower(checkpoint.text_tower, first_adapted_layer)
        if is_plain(self.model) and any(self._same(quick, checkpoint.sees, stacked) for stacked in (False, True)):
            self.tower = quick
        self.crew = Crew(threads if self.tower and self.device.type == "cpu" else 1)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embed.weight.device

    @property
    def way(self) -> str:
        """In words, how this family is run here."""
        if self.tower is not None:
            return "layer by layer, the last one only where a token is looked at"
        if self.whole.branches:
            return "by the family's own forward, branches of one prompt side by side"
        return "by the family's own forward, a prompt again for each branch behind it"

    def read(self, rows: Sequence[Row], most_tokens: int) -> list[Told]:
        """What the model makes of each row.

        All rows run in one forward, shared by the crew; or in several of `most_tokens` or less, padding included, where
        a family looks at words alone and at pictures in two ways, or wants a prompt again for each branch behind it.
        """
        if self.tower is None:
            return self._finished(self.whole.states(rows, most_tokens))
        quick = partial(self._quick, self.tower)
        shares = self.crew.shares(list(zip(rows, self._lower(self.tower, rows), strict=True)))
        return [told for share in self.crew.map(quick, shares) for told in share]

    def _finished(self, states: Sequence[torch.Tensor]) -> list[Told]:
        """What is told by each row's states."""
        logits = self.finish(self.head(torch.cat(list(states)))).split([len(of_row) for of_row in states])
        return [Told(of_row, state[0].detach()) for of_row, state in zip(logits, states, strict=True)]

    def _quick(self, tower: LlamaTower, share: Sequence[tuple[Row, torch.Tensor | None]]) -> list[Told]:
        """What is told by rows and what the lower layers made of them; None where every layer is adapted."""
        rows = [row for row, _ in share]
        lower = [states for _, states in share if states is not None]
        inputs = self._inputs(rows, embedded=not lower)
        hidden = torch.nn.utils.rnn.pad_sequence(lower, batch_first=True) if lower else inputs.embeds
        return self._finished(self._cut(rows, tower.upper(inputs, hidden)))

    def _lower(self, tower: LlamaTower, rows: Sequence[Row]) -> list[torch.Tensor | None]:
        """What the layers below every adapter make of each row, `[length, hidden]`: kept, or computed now."""
        if not tower.split:
            return [None] * len(rows)
        kept = [self.kept.get(row) for row in rows]
        missing = [i for i, states in enumerate(kept) if states is None]

        def compute(some: Sequence[int]) -> list[torch.Tensor]:
            lower = tower.lower(self._inputs([rows[i] for i in some], embedded=True))
            return [states[: len(rows[i])].clone() for i, states in zip(some, lower, strict=True)]

        for share, found in zip(shares := self.crew.shares(missing), self.crew.map(compute, shares), strict=True):
            for i, states in zip(share, found, strict=True):
                kept[i] = states
        self.kept.put((rows[i], state) for i in missing if (state := kept[i]) is not None)
        return kept

    @staticmethod
    def _cut(rows: Sequence[Row], states: torch.Tensor) -> list[torch.Tensor]:
        """Each row's own states of `[B, W, hidden]`."""
        return [states[i, : 1 + len(row.appended)] for i, row in enumerate(rows)]

    def _inputs(self, rows: Sequence[Row], embedded: bool) -> Inputs:
        """The padded batch, with token embeddings if they are needed."""
        longest = max(len(row) for row in rows)
        widest = max(1 + len(row.appended) for row in rows)
        wanted = [[min(len(row.prompt) - 1 + w, len(row) - 1) for w in range(widest)] for row in rows]
        embeds = torch.empty(0)
        if embedded:
            ids = np.full((len(rows), longest), self.pad, dtype=np.int64)
            for i, row in enumerate(rows):
                ids[i, : len(row.prompt)] = row.prompt.ids
                ids[i, len(row.prompt) : len(row)] = row.appended
            embeds = self.embeds(torch.from_numpy(ids).to(self.device), [p.flat for row in rows for p in row.pictures])
        return Inputs(embeds, torch.tensor(wanted, device=self.device), *self._branches(rows, longest))

    def embeds(self, ids: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Token embeddings `[B, L, hidden]` with the features at the image places, in order."""
        embeds = self.embed(ids)
        if features:
            places = (ids == self.image_token)[..., None]
            embeds = embeds.masked_scatter(places, torch.cat(features).to(embeds.dtype))
        return embeds

    def _branches(self, rows: Sequence[Row], longest: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Who sees whom, and positions; only where some row's appended tokens are not a chain."""
        if all(row.is_chain for row in rows):
            return None, None
        seen, positions = branches(rows, longest)
        return seen.to(self.device), positions.to(self.device)

    def trial_rows(self, sees: bool, stacked: bool = False) -> list[Row]:
        """Words alone with a branch behind them, and words about a picture, from a fixed seed."""
        rng = np.random.default_rng(0)
        count = min(self.embed.weight.shape[0], self.head.weight.shape[0])
        common = [i for i in rng.permutation(count)[:32].tolist() if i not in (self.image_token, self.pad)][:12]
        words = np.array(common, dtype=np.int64)
        rows = [Row(Prompt(words[:6]), (), words[6:10], (-1, 0, -1, 2))]
        if sees:
            width, spread = self.embed.weight.shape[1], self.embed.weight.std().item()
            noise = torch.from_numpy(rng.normal(0, spread, (4, width))).float().to(self.device)
            ids = np.insert(words[:6], 2, [self.image_token] * 4)
            rows.append(Row(Prompt(ids), (Picture(b"", (noise,), stacked=stacked),), words[6:9], (-1, 0, 1)))
        return rows

    @torch.no_grad()
    def _branches_hold(self) -> bool:
        """Whether the family's own forward is right under a mask: its words never meet but in attention."""
        rows = self.trial_rows(sees=False)
        apart = self.whole.states(rows, TRIAL_TOKENS)
        self.whole.branches = True
        try:
            together = self.whole.states(rows, TRIAL_TOKENS)
        except TRIAL_ERRORS:
            return False
        return all(torch.allclose(a, b, atol=TRIAL_TOLERANCE) for a, b in zip(together, apart, strict=True))

    @torch.no_grad()
    def _same(self, quick: LlamaTower, sees: bool, stacked: bool) -> bool:
        """Whether the quick way gives the numbers of the family's own forward, pictures handed over stacked or not."""
        rows = self.trial_rows(sees, stacked)
        try:
            inputs = self._inputs(rows, embedded=True)
            ours = self._cut(rows, quick.upper(inputs, quick.lower(inputs)))
            theirs = self.whole.states(rows, TRIAL_TOKENS)
        except TRIAL_ERRORS:  # layers of another make
            return False
        return all(torch.allclose(a, b, atol=TRIAL_TOLERANCE) for a, b in zip(ours, theirs, strict=True))
