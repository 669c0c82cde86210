"""Rows asked of the model -> log-probs of the answers, aligned with the samples."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from agent.batch import Sample, Scores
from agent.lvlm.asking import Asking
from agent.lvlm.budget import Budget
from agent.lvlm.engine import Engine
from agent.lvlm.rows import Told
from agent.lvlm.speech import Speaker

Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Log-probs, mask, entropy and table of some samples, as in `Scores`."""


class Scorer:
    """Scores samples under the adapter that speaks."""

    def __init__(self, engine: Engine, asking: Asking, speaker: Speaker, budget: Budget) -> None:
        self.engine = engine
        self.asking = asking
        self.speaker = speaker
        self.budget = budget

    def score(self, samples: Sequence[Sample], states: bool) -> Scores:
        """Log-probs of samples, and their prompts' last hidden states if they are wanted."""
        rows, places = self.asking.rows_of_samples(samples, self.budget.tokens)
        width = max((len(s.tokens) for s in samples if s.choices is None), default=1)
        most = max((len(s.choices) for s in samples if s.choices is not None), default=0)
        all_closed = all(s.choices is not None for s in samples)
        in_row: list[list[int]] = [[] for _ in rows]
        for i, (row, _) in enumerate(places):
            in_row[row].append(i)
        out: list[Part] = []
        order: list[int] = []
        last: dict[int, torch.Tensor] = {}

        def ask(some: list[int]) -> list[Told]:
            return self.engine.read([rows[row] for row in some], self.budget.tokens)

        for some, said in self.budget.each([len(row) for row in rows], ask, retry=not torch.is_grad_enabled()):
            numbers = [i for row in some for i in in_row[row]]
            by_row = {row: told.logits for row, told in zip(some, said, strict=True)}
            if states:
                last |= {row: told.state.float().cpu() for row, told in zip(some, said, strict=True)}
            logits = [by_row[row] if at is None else by_row[row][at] for row, at in (places[i] for i in numbers)]
            out += self._closed_scores(logits, [samples[i] for i in numbers], width, most)
            out += self._open_scores(logits, [samples[i] for i in numbers], width, most)
            closed = [i for _, members in self.asking.by_tree([samples[i].choices for i in numbers]) for i in members]
            order += [numbers[m] for m in closed] + [i for i in numbers if samples[i].choices is None]
        back = torch.tensor(np.argsort(np.array(order)))
        logprobs, mask, entropy, table = (torch.cat(part)[back] for part in zip(*out, strict=True))
        seen = torch.stack([last[row] for row, _ in places]) if states else None
        return Scores(logprobs, mask, entropy, table if all_closed else None, seen)

    def _closed_scores(
        self, logits: list[torch.Tensor], samples: list[Sample], width: int, most: int
    ) -> Iterator[Part]:
        for tree, members in self.asking.by_tree([s.choices for s in samples]):
            log_probs = tree.log_probs(torch.stack([logits[m] for m in members]))[0].cpu()
            said = torch.tensor([tree.index(samples[m].tokens) for m in members])
            first = log_probs.gather(1, said[:, None])
            rest = torch.zeros(len(members), width - 1)
            entropy = -(log_probs.exp() * log_probs).sum(1)
            table = torch.nn.functional.pad(log_probs, (0, most - log_probs.shape[1]), value=-torch.inf)
            yield torch.cat([first, rest], 1), torch.cat([torch.ones_like(first), rest], 1), entropy, table

    def _open_scores(self, logits: list[torch.Tensor], samples: list[Sample], width: int, most: int) -> Iterator[Part]:
        for row, sample in zip(logits, samples, strict=True):
            if sample.choices is not None:
                continue
            log_probs = self.speaker.log_probs(row[: len(sample.tokens)])
            said = log_probs.gather(1, torch.from_numpy(sample.tokens)[:, None].to(log_probs.device))[:, 0].cpu()
            finite = log_probs.masked_fill(log_probs.isinf(), 0.0)
            entropy = -(log_probs.exp() * finite).sum(1).mean().cpu()
            pad = (0, width - len(said))
            mask = torch.nn.functional.pad(torch.ones_like(said), pad)
            table = torch.full((1, most), -torch.inf)
            yield torch.nn.functional.pad(said, pad)[None], mask[None], entropy[None], table
