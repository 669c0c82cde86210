"""Closed sets: what an adapter thinks of a question is worked out once, and drawn from as often as it is asked.

Episodes of a group start from one state and meet in others: most of what a round asks, it asks more than once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.lvlm.asking import Asking
from agent.lvlm.budget import Budget
from agent.lvlm.choices import ChoiceTree
from agent.lvlm.engine import Engine
from agent.lvlm.kept import Kept, Tally
from agent.lvlm.rows import Row, Told
from agent.lvlm.speech import draw
from envs.types import Choices, Reply

LIMIT_BYTES = 64 * 2**20
ENTRY_BYTES = 2048
"""What an opinion takes beside its numbers: its key, above all the prompt's ids."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What an adapter thinks of a closed set behind a prompt.

    Attributes:
        answers: log-probs of the answers, float32 `[C]` nats.
        branches: of each decision on the way to them, float32 `[branches]` nats.
        state: the prompt's last hidden state, float32 `[hidden]`.
    """

    answers: np.ndarray
    branches: tuple[np.ndarray, ...]
    state: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return ENTRY_BYTES + sum(part.nbytes for part in (self.answers, self.state, *self.branches))


class Decider:
    """Draws closed answers.

    Attributes:
        tally: of decisions.
    """

    def __init__(self, engine: Engine, asking: Asking, budget: Budget) -> None:
        self.engine = engine
        self.asking = asking
        self.budget = budget
        self.kept: Kept[Opinion] = Kept(LIMIT_BYTES)
        self.tally = Tally()

    def forget(self) -> None:
        """Drop every opinion."""
        self.kept.clear()

    def decide(self, asked: Sequence[tuple[Row, tuple[str, ...], np.random.Generator]], version: str) -> list[Reply]:
        """Draw an answer for each row, at temperature 1.

        Args:
            asked: rows, the texts allowed, and who draws.
            version: names the weights that speak.
        """
        keys = [_key(row, texts, version) for row, texts, _ in asked]
        known = {key: self.kept.get(key) for key in keys}
        new = {key: (row, self.asking.tree(texts)) for key, (row, texts, _) in zip(keys, asked, strict=True)}
        fresh = self._consider({key: question for key, question in new.items() if known[key] is None})
        self.kept.put(fresh)
        self.tally.misses += len(fresh)
        self.tally.hits += len(asked) - len(fresh)
        replies = []
        for key, (_, texts, rng) in zip(keys, asked, strict=True):
            opinion = fresh.get(key) or known[key]
            assert opinion is not None
            pick, tree = draw(opinion.answers, rng), self.asking.tree(texts)
            paid = tree.token_log_probs(pick, opinion.branches)
            replies.append(Reply(tree.texts[pick], tree.answers[pick], paid, "closed"))
        return replies

    def states(self, asked: Sequence[tuple[Row, Choices]], version: str) -> list[np.ndarray | None]:
        """The prompts' last hidden states, float32 `[hidden]`, where they are still known from deciding."""
        opinions = [self.kept.get(_key(row, texts, version)) for row, texts in asked]
        return [None if opinion is None else opinion.state for opinion in opinions]

    def _consider(self, questions: dict[bytes, tuple[Row, ChoiceTree]]) -> dict[bytes, Opinion]:
        keys, asked = list(questions), list(questions.values())
        opinions: dict[bytes, Opinion] = {}

        def ask(some: list[int]) -> list[Told]:
            return self.engine.read([asked[i][0] for i in some], self.budget.tokens)

        for some, said in self.budget.each([len(row) for row, _ in asked], ask, retry=True):
            of_tree: dict[int, list[int]] = {}
            for n, i in enumerate(some):
                of_tree.setdefault(id(asked[i][1]), []).append(n)
            for members in of_tree.values():
                tree = asked[some[members[0]]][1]
                answers, branches = tree.log_probs(torch.stack([said[n].logits for n in members]))
                table, parts = answers.cpu().numpy(), [branch.cpu().numpy() for branch in branches]
                for at, n in enumerate(members):
                    state = said[n].state.float().cpu().numpy().copy()
                    opinions[keys[some[n]]] = Opinion(table[at], tuple(part[at] for part in parts), state)
        return opinions


def _key(row: Row, texts: Choices, version: str) -> bytes:
    return b"|".join((version.encode(), row.key, repr(texts).encode()))
