"""States of lower layers: the right ones or none, within the bound."""

import numpy as np
import torch

from agent.lvlm import lower
from agent.lvlm.lower import LowerStates
from agent.lvlm.rows import Picture, Prompt, Row


def row(ids, behind=(), parents=None, picture=None):
    pictures = () if picture is None else (Picture(picture, (torch.zeros(1, 2),)),)
    ways = tuple(range(-1, len(behind) - 1)) if parents is None else parents
    return Row(Prompt(np.array(ids)), pictures, np.array(behind, np.int64), ways)


def states(of, value):
    """20 bytes a token."""
    return torch.full((len(of), 5), float(value)) + torch.arange(len(of))[:, None]


def test_a_bare_prompt_is_the_start_of_what_was_asked_with_answers():
    kept, asked = LowerStates(10**6), row([1, 2, 3], [7, 8, 9], (-1, 0, -1), b"p")
    kept.put([(asked, states(asked, 5))])
    assert torch.equal(kept.get(asked), states(asked, 5))
    assert torch.equal(kept.get(row([1, 2, 3], picture=b"p")), states(asked, 5)[:3])
    for other in (
        row([1, 2, 3]),
        row([1, 2, 3], picture=b"q"),
        row([1, 2], picture=b"p"),
        row([1, 2, 4], picture=b"p"),
    ):
        assert kept.get(other) is None
    assert kept.get(row([1, 2, 3], [7], picture=b"p")) is None, "answers behind it look at each other"
    assert kept.get(row([1, 2, 3], [7, 8, 9], picture=b"p")) is None, "another tree"
    kept.clear()
    assert kept.bytes == 0
    assert kept.get(row([1, 2, 3], picture=b"p")) is None


def test_a_bare_prompt_has_no_answers_for_others():
    kept = LowerStates(10**6)
    kept.put([(row([1, 2]), states(row([1, 2]), 0))])
    assert kept.get(row([1, 2])) is not None
    assert kept.get(row([1, 2], [3])) is None


def test_what_is_gone_is_gone_for_the_bare_prompt_too(monkeypatch):
    """Rows of 3 and 20 bytes a token: two are within 120 bytes."""
    monkeypatch.setattr(lower, "_FORGOTTEN", 3)
    kept = LowerStates(120)
    asked = [row([n, n], [9]) for n in range(20)]
    for number, one in enumerate(asked):
        kept.put([(one, states(one, number))])
        assert kept.bytes <= 120
    found = [kept.get(one.start) for one in asked]
    assert [i for i, one in enumerate(found) if one is not None] == [18, 19]
    assert torch.equal(found[19], states(asked[19], 19)[:2])
    assert len(kept._longer) <= 2 + 3
