"""The policy: an LVLM with LoRA adapters that acts, scores, and can be forked, adopted or thrown away.

Three adapters speak with one engine: the `champion` (what the gate let through), the `candidate` (what an update is
working on) and the `base` (adapters off). One thread touches the model.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from agent.batch import Sample, Scores
from agent.lvlm.adapters import CANDIDATE, CHAMPION, Adapters, LoraSettings
from agent.lvlm.checkpoint import ModelSettings, load_checkpoint
from agent.lvlm.choices import ChoiceTree, build_tree
from agent.lvlm.engine import Engine, Row, draw
from agent.lvlm.prompts import Prompter
from agent.lvlm.vision import Vision
from envs.component import UserError
from envs.types import Observation, Reply

Choices = tuple[str, ...] | None


class Policy:
    """Implements `envs.collect.Actor`."""

    def __init__(self, model: ModelSettings, lora: LoraSettings, seed: int = 0, open_tokens: int = 32) -> None:
        """Load the checkpoint and give it a champion that changes nothing yet.

        Args:
            model: which checkpoint, threads, token budget.
            lora: shape of the adapters.
            seed: of the adapters' first weights.
            open_tokens: most tokens of an open answer.
        """
        self.threads = model.threads or os.cpu_count() or 1
        torch.set_num_threads(self.threads)
        self.checkpoint = load_checkpoint(model)
        config = self.checkpoint.model.config.get_text_config()
        self.prompter = Prompter(
            self.checkpoint.processor, config.max_position_embeddings - open_tokens, self.checkpoint.image_token
        )
        self.vision = Vision(
            self.checkpoint.model, self.checkpoint.processor.image_processor, model.feature_cache_mb * 2**20
        )
        self.adapters = Adapters(self.checkpoint, lora, seed)
        keep_bytes = model.state_cache_mb * 2**20
        self.engine = Engine(self.checkpoint, self.prompter.pad, self.adapters.first_layer, keep_bytes)
        self.token_budget = model.token_budget
        self.open_tokens = open_tokens
        self._trees: dict[tuple[str, ...], ChoiceTree] = {}

    # -- who speaks ---------------------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """Hash of the adapter that speaks now."""
        return self.adapters.version(self.adapters.active)

    def fork(self) -> None:
        """Start a candidate from the champion; the candidate speaks."""
        self.adapters.copy(CHAMPION, CANDIDATE)
        self.adapters.use(CANDIDATE)

    def adopt(self) -> None:
        """The candidate becomes the champion, which speaks."""
        self.adapters.copy(CANDIDATE, CHAMPION)
        self.adapters.use(CHAMPION)

    def discard(self) -> None:
        """Forget the candidate; the champion speaks."""
        self.adapters.copy(CHAMPION, CANDIDATE)
        self.adapters.use(CHAMPION)

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """For the length of a block, `champion`, `candidate` or `base` speaks."""
        return self.adapters.using(adapter)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The candidate's weights: all that an update may change."""
        return list(self.adapters.tensors(CANDIDATE).values())

    def save(self, folder: Path) -> None:
        """Write the adapter that speaks as a PEFT folder, whole or not at all."""
        self.adapters.save(self.adapters.active, folder)

    def load_champion(self, folder: Path) -> None:
        """Replace the champion by a saved adapter."""
        self.adapters.load(folder, CHAMPION)
        self.discard()

    # -- acting -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        """Sample one answer for each observation, at temperature 1, each from its own generator."""
        replies: list[Reply | None] = [None] * len(observations)
        rows = self._rows(observations, choices)
        with self.adapters.merged():
            for some in self._within_budget(rows):
                said = self._act([rows[i] for i in some], [choices[i] for i in some], [rngs[i] for i in some])
                for i, reply in zip(some, said, strict=True):
                    replies[i] = reply
        return [reply for reply in replies if reply is not None]

    def _act(self, rows: list[Row], choices: list[Choices], rngs: list[np.random.Generator]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        closed = [i for i, c in enumerate(choices) if c is not None]
        if closed:
            logits = self.engine.logits([rows[i] for i in closed])
            for tree, members in self._by_tree([choices[i] for i in closed]):
                table, branches = tree.log_probs(torch.stack([logits[m] for m in members]))
                parts = [b.numpy() for b in branches]
                for n, (member, log_probs) in enumerate(zip(members, table.numpy(), strict=True)):
                    i = closed[member]
                    pick = draw(log_probs, rngs[i])
                    paid = tree.token_log_probs(pick, [p[n] for p in parts])
                    replies[i] = Reply(tree.texts[pick], tree.answers[pick], paid, "closed")
        free = [i for i, c in enumerate(choices) if c is None]
        if free:
            sampled = self.engine.sample(
                [rows[i] for i in free], self.open_tokens, self.prompter.end, [rngs[i] for i in free], self.banned
            )
            for i, (tokens, log_probs) in zip(free, sampled, strict=True):
                replies[i] = Reply(self.prompter.decode(tokens), tokens, log_probs, "open")
        return [replies[i] for i in range(len(rows))]

    def table(self, observation: Observation, choices: tuple[str, ...]) -> dict[str, float]:
        """Probability of each allowed answer."""
        with torch.no_grad():
            log_probs = self.score([self.ask(observation, choices)]).table
        assert log_probs is not None
        return dict(zip(choices, log_probs[0].exp().tolist(), strict=True))

    # -- scoring ------------------------------------------------------------------------------------------------------

    def ask(self, observation: Observation, choices: tuple[str, ...]) -> Sample:
        """A sample for which only the table over `choices` matters."""
        answer = self._tree(choices).answers[0]
        return Sample(observation, choices, answer, np.zeros(len(answer), dtype=np.float32))

    def score(self, samples: Sequence[Sample]) -> Scores:
        """Log-probs of samples under the adapter that speaks, in forwards within the token budget.

        With gradients enabled and the candidate speaking, the result carries them: keep such batches small enough.
        """
        if torch.is_grad_enabled():
            return self._score(samples)
        with self.adapters.merged():
            return self._score(samples)

    def _score(self, samples: Sequence[Sample]) -> Scores:
        rows = self._rows([s.observation for s in samples], [s.choices for s in samples], samples)
        width = max((len(s.tokens) for s in samples if s.choices is None), default=1)
        most = max((len(s.choices) for s in samples if s.choices is not None), default=0)
        all_closed = all(s.choices is not None for s in samples)
        out: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        order: list[int] = []
        for some in self._within_budget(rows):
            logits = self.engine.logits([rows[i] for i in some])
            out += self._closed_scores(logits, [samples[i] for i in some], width, most)
            out += self._open_scores(logits, [samples[i] for i in some], width, most)
            closed = [i for _, members in self._by_tree([samples[i].choices for i in some]) for i in members]
            order += [some[m] for m in closed] + [i for i in some if samples[i].choices is None]
        back = torch.tensor(np.argsort(np.array(order)))
        logprobs, mask, entropy, table = (torch.cat(part)[back] for part in zip(*out, strict=True))
        return Scores(logprobs, mask, entropy, table if all_closed else None)

    def score_pairs(self, pairs: Sequence[tuple[Sample, Sample]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs of chosen and rejected answers, `[P]` each; closed pairs share one row for both."""
        chosen, rejected = [c for c, _ in pairs], [r for _, r in pairs]
        if any(c.choices is None for c in chosen):
            sums = self.score(chosen + rejected).sums
            return sums[: len(pairs)], sums[len(pairs) :]
        table = self.score(chosen).table
        assert table is not None
        said = [[self._tree(s.choices).index(s.tokens) for s in side if s.choices] for side in (chosen, rejected)]
        picked = table.gather(1, torch.tensor(said).T)
        return picked[:, 0], picked[:, 1]

    @property
    def samples_per_forward(self) -> int:
        """How many prompts of the longest length seen so far fit the token budget."""
        return max(1, self.token_budget // max(self.prompter.longest_seen, 1))

    def _closed_scores(
        self, logits: list[torch.Tensor], samples: list[Sample], width: int, most: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        for tree, members in self._by_tree([s.choices for s in samples]):
            log_probs, _ = tree.log_probs(torch.stack([logits[m] for m in members]))
            said = torch.tensor([tree.index(samples[m].tokens) for m in members])
            first = log_probs.gather(1, said[:, None])
            rest = torch.zeros(len(members), width - 1)
            entropy = -(log_probs.exp() * log_probs).sum(1)
            table = torch.nn.functional.pad(log_probs, (0, most - log_probs.shape[1]), value=-torch.inf)
            yield torch.cat([first, rest], 1), torch.cat([torch.ones_like(first), rest], 1), entropy, table

    def _open_scores(
        self, logits: list[torch.Tensor], samples: list[Sample], width: int, most: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        for row, sample in zip(logits, samples, strict=True):
            if sample.choices is not None:
                continue
            log_probs = self.engine.open_log_probs(row[: len(sample.tokens)], self.banned)
            said = log_probs.gather(1, torch.from_numpy(sample.tokens)[:, None])[:, 0]
            finite = log_probs.masked_fill(log_probs.isinf(), 0.0)
            entropy = -(log_probs.exp() * finite).sum(1).mean()
            pad = (0, width - len(said))
            mask = torch.nn.functional.pad(torch.ones_like(said), pad)
            table = torch.full((1, most), -torch.inf)
            yield torch.nn.functional.pad(said, pad)[None], mask[None], entropy[None], table

    # -- shared -------------------------------------------------------------------------------------------------------

    @property
    def banned(self) -> list[int]:
        """Ids that are never sampled: an image token would ask for a picture that is not there."""
        return [self.checkpoint.image_token]

    def _tree(self, choices: tuple[str, ...]) -> ChoiceTree:
        tree = self._trees.get(choices)
        if tree is None:
            tree = self._trees[choices] = build_tree(choices, [self.prompter.answer(text) for text in choices])
        return tree

    def _by_tree(self, choices: Sequence[Choices]) -> list[tuple[ChoiceTree, list[int]]]:
        groups: dict[tuple[str, ...], list[int]] = {}
        for i, c in enumerate(choices):
            if c is not None:
                groups.setdefault(c, []).append(i)
        return [(self._tree(c), members) for c, members in groups.items()]

    def _rows(
        self, observations: Sequence[Observation], choices: Sequence[Choices], samples: Sequence[Sample] | None = None
    ) -> list[Row]:
        """One row each. Open samples append their own tokens (the last one predicts nothing and stays out)."""
        keys, features = self.vision.features([image for o in observations for image in o.images])
        rows, used = [], 0
        for i, (observation, allowed) in enumerate(zip(observations, choices, strict=True)):
            mine = slice(used, used + len(observation.images))
            used = mine.stop
            prompt = self.prompter.prompt(observation)
            if allowed is not None:
                tree = self._tree(allowed)
                rows.append(Row(prompt, features[mine], tuple(keys[mine]), tree.appended, tree))
            else:
                tail = samples[i].tokens[:-1] if samples else np.zeros(0, dtype=np.int64)
                rows.append(Row(prompt, features[mine], tuple(keys[mine]), tail))
        return rows

    def _within_budget(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Row numbers in groups of similar length whose padded tokens stay within the budget."""
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
        group: list[int] = []
        for i in order:
            if len(rows[i]) > self.token_budget:
                raise UserError(
                    f"one prompt has {len(rows[i])} tokens, model.token_budget is {self.token_budget}: raise it."
                )
            if group and len(rows[i]) * (len(group) + 1) > self.token_budget:
                yield group
                group = []
            group.append(i)
        if group:
            yield group
