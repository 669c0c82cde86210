"""A closed question is thought about once for as long as nothing changes, and drawn from as often as it is asked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.lvlm.adapters import CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.kept import Kept
from agent.lvlm.rows import Row, Told
from agent.policy import Policy
from envs.types import Observation, Reply

LEFT_RIGHT = ("turn left", "turn right")
ALL = (*LEFT_RIGHT, "go forward")


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    return Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))


@pytest.fixture
def thought(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each forward had."""
    counts: list[int] = []
    real = policy.engine.read

    def read(rows: Sequence[Row], most_tokens: int) -> list[Told]:
        counts.append(len(rows))
        return real(rows, most_tokens)

    monkeypatch.setattr(policy.engine, "read", read)
    return counts


def observe(number: int) -> Observation:
    return Observation(f"room {number}. Say something.")


def act(policy: Policy, numbers: Sequence[int], choices: tuple[str, ...] = ALL, first: int = 0) -> list[Reply]:
    rngs = [np.random.default_rng(first + i) for i in range(len(numbers))]
    return policy.act([observe(n) for n in numbers], [choices] * len(numbers), rngs)


def test_what_is_asked_eight_times_is_run_once(policy: Policy, thought: list[int]) -> None:
    replies = act(policy, [0] * 8 + [1])
    assert sum(thought) == 2
    assert len({reply.text for reply in replies[:8]}) > 1, "each draws its own answer"
    act(policy, [1, 2, 0])
    assert sum(thought) == 3
    assert policy.reuse()["decisions"] == 9 / 12
    act(policy, [0])
    assert policy.reuse()["decisions"] == 1.0


def test_an_answer_drawn_from_memory_is_the_one_that_thinking_gives(policy: Policy) -> None:
    act(policy, [3, 3])
    remembered = act(policy, [3, 3], first=50)
    policy.decider.forget()
    for old, new in zip(remembered, act(policy, [3, 3], first=50), strict=True):
        assert old.text == new.text
        assert old.tokens.tolist() == new.tokens.tolist()
        assert np.allclose(old.logprobs, new.logprobs, atol=1e-6)


def test_other_choices_and_other_weights_are_other_questions(policy: Policy, thought: list[int]) -> None:
    act(policy, [0])
    act(policy, [0], LEFT_RIGHT)
    assert sum(thought) == 2
    policy.fork()
    act(policy, [0])
    assert sum(thought) == 3, "what is decided in one cycle depends on nothing decided in another"
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CANDIDATE).values():
            tensor.add_(0.05)
    changed = policy.table(observe(0), ALL)
    before = sum(thought)
    (reply,) = act(policy, [0])
    assert sum(thought) == before + 1
    assert np.isclose(np.exp(reply.logprobs.sum()), changed[reply.text], atol=1e-5)


def test_last_states_are_left_by_deciding_while_the_weights_stay(policy: Policy, thought: list[int]) -> None:
    """Of what was not decided, or openly, a forward gives them; all are those that scoring gives."""
    policy.fork()
    act(policy, [0, 1])
    samples = [policy.ask(observe(n), ALL) for n in (1, 2, 0)]
    samples.append(replace(samples[0], choices=None))
    for _ in range(2):
        before = len(thought)
        states = policy.states(samples)
        assert thought[before:] == [2], "rooms 2, and 1 asked openly"
        expected = policy.score(samples, states=True).states
        assert expected is not None
        assert states.shape == expected.shape
        assert not states.requires_grad
        assert torch.allclose(states, expected, atol=1e-5)
        assert not torch.allclose(states[0], states[2], atol=1e-3)
        with torch.no_grad():
            for tensor in policy.adapters.tensors(CANDIDATE).values():
                tensor.add_(0.05)
        act(policy, [0, 1])  # with other weights they are thought about again


class Sized:
    nbytes = 10


def test_the_bound_in_bytes_holds_and_the_least_used_goes() -> None:
    kept: Kept[Sized] = Kept(25)
    kept.put({b"a": Sized(), b"b": Sized()})
    assert kept.get(b"a") is not None  # so that b is the longest unused
    kept.put({b"c": Sized()})
    assert (kept.get(b"a") is None, kept.get(b"b") is None, kept.get(b"c") is None) == (False, True, False)
    assert kept.bytes == 20
