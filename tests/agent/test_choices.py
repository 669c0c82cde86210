"""The token tree of a closed set, by hand."""

import numpy as np
import pytest
import torch

from agent.lvlm.choices import build_tree
from envs.component import UserError

END = 9


def answers(*rows: list[int]) -> list[np.ndarray]:
    return [np.array([*row, END]) for row in rows]


def test_first_token_decides_without_appended_tokens() -> None:
    tree = build_tree(("a", "b"), answers([1, 5], [2, 5]))
    assert tree.appended.size == 0
    assert tree.parents == ()
    assert [(d.at, d.tokens) for d in tree.decisions] == [(-1, (1, 2))]


def test_a_shared_first_token_is_appended_once() -> None:
    """turn left = 1 3, turn right = 1 4, go = 2: one token (1) is appended, its logits decide left or right."""
    tree = build_tree(("turn left", "turn right", "go"), answers([1, 3], [1, 4], [2]))
    assert tree.appended.tolist() == [1]
    assert tree.parents == (-1,)
    logits = torch.zeros(1, 2, 10)
    logits[0, 0, 1], logits[0, 0, 2] = np.log(3.0), np.log(1.0)  # turn 3/4, go 1/4
    logits[0, 1, 3], logits[0, 1, 4] = np.log(1.0), np.log(4.0)  # left 1/5, right 4/5
    table, branches = tree.log_probs(logits)
    assert torch.allclose(table.exp(), torch.tensor([[0.15, 0.6, 0.25]]))
    paid = tree.token_log_probs(1, [b[0].numpy() for b in branches])
    assert np.allclose(np.exp(paid), [0.75, 0.8, 1.0])  # the end token is forced


def test_an_answer_that_begins_another_is_told_apart_by_the_end_token() -> None:
    tree = build_tree(("go", "go on"), answers([1], [1, 2]))
    assert tree.appended.tolist() == [1]
    assert [(d.at, d.tokens) for d in tree.decisions] == [(0, (END, 2))]


def test_two_branches_make_a_tree() -> None:
    tree = build_tree(("a b", "a c", "x y", "x z"), answers([1, 2], [1, 3], [4, 5], [4, 6]))
    assert tree.appended.tolist() == [1, 4]
    assert tree.parents == (-1, -1)


def test_one_answer_has_probability_one() -> None:
    table, _ = build_tree(("a",), answers([1])).log_probs(torch.randn(2, 1, 10))
    assert table.tolist() == [[0.0], [0.0]]


def test_answers_that_tokenize_alike_are_refused() -> None:
    with pytest.raises(UserError, match="'go' and 'Go' tokenize alike"):
        build_tree(("go", "Go"), answers([1], [1]))
