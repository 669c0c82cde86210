"""Rows asked of the model -> log-probs of the answers, aligned with the samples."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch

from agent.batch import Sample, Scores
from agent.lvlm.asking import Asking
from agent.lvlm.budget import Budget
from agent.lvlm.choices import ChoiceTree
from agent.lvlm.engine import Engine
from agent.lvlm.rows import Told
from agent.lvlm.speech import Speaker


class Scorer:
    """Scores samples under the adapter that speaks."""

    def __init__(self, engine: Engine, asking: Asking, speaker: Speaker, budget: Budget) -> None:
        self.engine = engine
        self.asking = asking
        self.speaker = speaker
        self.budget = budget

    def score(
        self, samples: Sequence[Sample], states: bool = False, top: int = 0, ids: torch.Tensor | None = None
    ) -> Scores:
        """See `agent.policy.Policy.score`."""
        rows, places = self.asking.rows_of_samples(samples, self.budget.tokens)
        width = max((len(s.tokens) for s in samples if s.choices is None), default=1)
        most = max((len(s.choices) for s in samples if s.choices is not None), default=0)
        in_row: list[list[int]] = [[] for _ in rows]
        for i, (row, _) in enumerate(places):
            in_row[row].append(i)
        parts: list[Scores] = []
        order: list[int] = []

        def ask(some: list[int]) -> list[Told]:
            return self.engine.read([rows[row] for row in some], self.budget.tokens)

        for some, said in self.budget.each([len(row) for row in rows], ask, retry=not torch.is_grad_enabled()):
            numbers = [i for row in some for i in in_row[row]]
            told = dict(zip(some, said, strict=True))
            of_each = [told[places[i][0]] for i in numbers]
            for tree, members in self.asking.by_tree([samples[i].choices for i in numbers]):
                mine = [(samples[numbers[m]], of_each[m]) for m in members]
                parts.append(_closed(tree, mine, width, most, states))
                order += [numbers[m] for m in members]
            free = [m for m, i in enumerate(numbers) if samples[i].choices is None]
            if free:
                chosen = [numbers[m] for m in free]
                wanted = None if ids is None else ids[torch.tensor(chosen)][:, :width]
                asked = [(samples[i], *places[i]) for i in chosen]
                parts.append(self._open(told, asked, (width, most), states, top, wanted))
                order += chosen
        return _joined(parts, order)

    def _open(
        self,
        told: Mapping[int, Told],
        asked: Sequence[tuple[Sample, int, list[int] | None]],
        shape: tuple[int, int],
        states: bool,
        top: int,
        ids: torch.Tensor | None,
    ) -> Scores:
        """`asked` are samples with their row and their places there; a place shared by several is looked at once."""
        width, most = shape
        rows = list(dict.fromkeys(row for _, row, _ in asked))
        log_probs = self.speaker.log_probs(torch.cat([told[row].logits for row in rows]))
        entropy = -(log_probs.exp() * log_probs.masked_fill(log_probs.isinf(), 0.0)).sum(1)
        starts = dict(zip(rows, np.cumsum([0] + [len(told[row].logits) for row in rows]).tolist(), strict=False))
        places = torch.tensor([starts[row] + n for _, row, way in asked for n in way or ()], device=log_probs.device)
        tokens = torch.from_numpy(np.concatenate([sample.tokens for sample, _, _ in asked])).to(log_probs.device)
        there = torch.arange(width) < torch.tensor([len(sample.tokens) for sample, _, _ in asked])[:, None]
        mask = there.float()

        def spread(values: torch.Tensor) -> torch.Tensor:
            """Values of each token, `[N, ...]`, as `[B, T, ...]`."""
            values = values.cpu()
            out = values.new_zeros(*there.shape, *values.shape[1:])
            return out.masked_scatter(there.view(*there.shape, *[1] * (values.dim() - 1)), values)

        nexts = None
        if top or ids is not None:
            each = log_probs.topk(min(top, log_probs.shape[1]))[1][places] if ids is None else ids[there].to(places)
            nexts, ids = spread(log_probs[places].gather(1, each)), spread(each)
        doubt = spread(entropy[places]).sum(1) / mask.sum(1)
        table = torch.full((len(asked), most), -torch.inf) if most else None
        last = torch.stack([told[row].state.float().cpu() for _, row, _ in asked]) if states else None
        closed = torch.zeros(len(asked), dtype=torch.bool)
        return Scores(spread(log_probs[places, tokens]), mask, doubt, table, closed, last, nexts, ids)


def _closed(tree: ChoiceTree, asked: Sequence[tuple[Sample, Told]], width: int, most: int, states: bool) -> Scores:
    log_probs = tree.log_probs(torch.stack([told.logits for _, told in asked]))[0].cpu()
    said = torch.tensor([tree.index(sample.tokens) for sample, _ in asked])
    first = log_probs.gather(1, said[:, None])
    rest = torch.zeros(len(asked), width - 1)
    entropy = -(log_probs.exp() * log_probs).sum(1)
    table = torch.nn.functional.pad(log_probs, (0, most - log_probs.shape[1]), value=-torch.inf)
    last = torch.stack([told.state.float().cpu() for _, told in asked]) if states else None
    closed = torch.ones(len(asked), dtype=torch.bool)
    mask = torch.cat([torch.ones_like(first), rest], 1)
    return Scores(torch.cat([first, rest], 1), mask, entropy, table, closed, last)


def _joined(parts: Sequence[Scores], order: Sequence[int]) -> Scores:
    """Parts as one, their samples brought back into order; what only open answers have is 0 for closed ones."""
    back = torch.tensor(np.argsort(np.array(order)))
    columns = [[getattr(part, field.name) for part in parts] for field in fields(Scores)]
    joined: list[torch.Tensor | None] = []
    for column in columns:
        known = [part for part in column if part is not None]
        if not known:
            joined.append(None)
            continue
        filled = [
            known[0].new_zeros(len(part.mask), *known[0].shape[1:]) if value is None else value
            for value, part in zip(column, parts, strict=True)
        ]
        joined.append(torch.cat(filled)[back])
    return Scores(*joined)  # type: ignore[arg-type]
