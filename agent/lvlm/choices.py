"""A closed set of answers as a token tree: exact probabilities over the set from one forward pass.

Each answer is its token ids followed by the end token. A node with one child forces its token: log-prob 0, no forward.
Only the nodes at which something is decided are looked at: the prompt's last position, and the few tokens that lead to
deeper decisions, which are appended behind the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from envs.component import UserError


@dataclass(frozen=True, slots=True)
class Decision:
    """A node with several children: `at` is its place among the appended tokens, -1 the prompt's last position."""

    at: int
    tokens: tuple[int, ...]


@dataclass(slots=True)
class ChoiceTree:
    """The tree of one closed set.

    Attributes:
        texts: the answers, in the world's order.
        answers: their ids with the end token, int64 `[T]` each.
        appended: ids to put behind the prompt, int64 `[N]`.
        parents: for each appended token its parent's place among them, -1 for the prompt.
        decisions: every branching node.
        paths: for each answer, (token position, decision, branch) of every decision on its way.
    """

    texts: tuple[str, ...]
    answers: list[np.ndarray]
    appended: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    parents: tuple[int, ...] = ()
    decisions: list[Decision] = field(default_factory=list)
    paths: list[list[tuple[int, int, int]]] = field(default_factory=list)

    def index(self, tokens: np.ndarray) -> int:
        """Which answer these sampled ids are."""
        for i, answer in enumerate(self.answers):
            if np.array_equal(answer, tokens):
                return i
        raise UserError(f"tokens {tokens.tolist()} are none of the answers {self.texts}: another tokenizer made them.")

    def log_probs(self, logits: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Exact log-probabilities of the answers.

        Args:
            logits: `[B, 1 + N, V]`, at the prompt's last position and at the N appended tokens.

        Returns:
            `[B, C]` log-probs of the answers in nats, and for each decision `[B, branches]`.
        """
        branches = [torch.log_softmax(logits[:, d.at + 1, list(d.tokens)].float(), dim=-1) for d in self.decisions]
        if not branches:  # one answer: nothing to decide
            return logits.new_zeros(logits.shape[0], len(self.texts)).float(), []
        columns = [sum(branches[d][:, b] for _, d, b in path) for path in self.paths]
        return torch.stack([torch.as_tensor(c) for c in columns], dim=1), branches

    def token_log_probs(self, answer: int, branches: Sequence[np.ndarray]) -> np.ndarray:
        """Per-token log-probs, float32 `[T]`, of one answer from one row's decisions; forced tokens have 0."""
        row = np.zeros(len(self.answers[answer]), dtype=np.float32)
        for position, decision, branch in self.paths[answer]:
            row[position] = branches[decision][branch]
        return row


def build_tree(texts: Sequence[str], answers: Sequence[np.ndarray]) -> ChoiceTree:
    """Build the tree of `texts` from their token ids (each ends with the end token).

    Raises:
        UserError: two answers tokenize alike, so they can't be told apart.
    """
    tree = ChoiceTree(tuple(texts), [np.asarray(a, dtype=np.int64) for a in answers])
    keys = [tuple(a.tolist()) for a in tree.answers]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            twin = texts[keys.index(key)]
            raise UserError(f"answers {twin!r} and {texts[i]!r} tokenize alike: give the action another wording.")
    children: dict[tuple[int, ...], list[int]] = {}
    for key in keys:
        for t, token in enumerate(key):
            row = children.setdefault(key[:t], [])
            if token not in row:
                row.append(token)
    deciding = [prefix for prefix, row in children.items() if len(row) > 1]
    needed = sorted({p[:n] for p in deciding for n in range(1, len(p) + 1)}, key=lambda p: (len(p), p))
    place = {prefix: i for i, prefix in enumerate(needed)} | {(): -1}
    tree.appended = np.array([prefix[-1] for prefix in needed], dtype=np.int64)
    tree.parents = tuple(place[prefix[:-1]] for prefix in needed)
    tree.decisions = [Decision(place[prefix], tuple(children[prefix])) for prefix in deciding]
    number = {prefix: d for d, prefix in enumerate(deciding)}
    tree.paths = [
        [(t, number[key[:t]], children[key[:t]].index(key[t])) for t in range(len(key)) if key[:t] in number]
        for key in keys
    ]
    return tree


def share(tails: Sequence[np.ndarray]) -> tuple[np.ndarray, tuple[int, ...], list[list[int]]]:
    """Several answers behind one prompt as one tree.

    Returns:
        The ids of its tokens, int64 `[N]`; each token's parent among them, -1 for the prompt; and for each of `tails`
        the places of its tokens.
    """
    place: dict[tuple[int, ...], int] = {(): -1}
    ids: list[int] = []
    parents: list[int] = []
    ways: list[list[int]] = []
    for tail in tails:
        way: list[int] = []
        for t in range(len(tail)):
            prefix = tuple(tail[: t + 1].tolist())
            if prefix not in place:
                place[prefix] = len(ids)
                ids.append(prefix[-1])
                parents.append(place[prefix[:-1]])
            way.append(place[prefix])
        ways.append(way)
    return np.array(ids, dtype=np.int64), tuple(parents), ways
