"""Threads that share a forward's rows: the same results as one, in order, and the same bits every time."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.batch import Sample
from agent.learner import Learner, UpdateSettings
from agent.lesson import Lesson
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.crew import Crew
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from envs.types import Observation, Reply
from tests.agent.learning import given
from tests.tiny_families import build_family

CHOICES = ("turn left", "turn right", "go forward")
ASKED = [Observation(f"room {i}. {'Look well. ' * (i % 3)}Say something.") for i in range(11)]


def policy_of(folder: Path, threads: int, last_layers: int = 0) -> Policy:
    policy = Policy(ModelSettings(path=str(folder), threads=threads), LoraSettings(rank=4, last_layers=last_layers))
    torch.set_num_threads(1)  # torch's own: the crew's threads are what is tested, and others may be busy
    with torch.no_grad():  # so that an answer depends on the prompt
        for number, tensor in enumerate(policy.adapters.tensors("champion").values()):
            tensor.normal_(0, 0.1, generator=torch.Generator().manual_seed(number))
    return policy


def act(policy: Policy, choices: tuple[str, ...] | None) -> list[Reply]:
    return policy.act(ASKED, [choices] * len(ASKED), [np.random.default_rng(i) for i in range(len(ASKED))])


def one_step(policy: Policy) -> torch.Tensor:
    """The candidate's weights after an optimizer step with rehearsal."""
    samples: list[Sample] = [policy.ask(observation, CHOICES) for observation in ASKED]
    with torch.no_grad():
        rehearsal = Rehearsal(samples[:5], policy.score(samples[:5]))
    policy.fork()
    lesson = Lesson(policy, given([]), rehearsal, np.random.default_rng(0))
    learner = Learner("test", lesson, UpdateSettings(rehearsal_batch=5, learning_rate=1e-2))

    def loss(some: Sequence[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return -policy.score([samples[i] for i in some]).sums.mean(), {}

    learner.step(range(len(samples)), loss)
    return torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])


@pytest.mark.parametrize("last_layers", [0, 1])
def test_two_say_learn_and_score_what_one_does(tiny_folder: Path, last_layers: int) -> None:
    one, two = (policy_of(tiny_folder, threads, last_layers) for threads in (1, 2))
    assert (one.engine.crew.size, two.engine.crew.size) == (1, 2)
    for choices in (CHOICES, None):
        for a, b in zip(act(one, choices), act(two, choices), strict=True):
            assert a.text == b.text
            assert np.allclose(a.logprobs, b.logprobs, atol=1e-5)
    moved = one_step(one)
    assert torch.allclose(moved, one_step(two), atol=1e-5)
    assert torch.equal(
        one_step(policy_of(tiny_folder, 2, last_layers)), one_step(policy_of(tiny_folder, 2, last_layers))
    )


def test_a_family_that_runs_by_its_own_forward_is_left_to_one(tmp_path: Path) -> None:
    folder = build_family("qwen2_vl", tmp_path)
    assert policy_of(folder, 2).engine.crew.size == 1


def test_order_gradients_and_faults_pass_through() -> None:
    crew, threads = Crew(2), set()
    meet = threading.Barrier(2, timeout=20)  # nobody goes on alone

    def work(number: int) -> tuple[int, bool, int]:
        threads.add(threading.get_ident())
        meet.wait()
        return number, torch.is_grad_enabled(), torch.get_num_threads()

    with torch.no_grad():
        assert crew.map(work, [1, 2]) == [(1, False, 1), (2, False, 1)]
    assert crew.map(work, [3, 4]) == [(3, True, 1), (4, True, 1)]
    assert threading.get_ident() not in threads
    with pytest.raises(ZeroDivisionError):
        crew.map(lambda number: 1 // number, [1, 0])


@pytest.mark.parametrize(("size", "count", "shares"), [(2, 5, [2, 3]), (4, 3, [1, 1, 1]), (3, 0, []), (1, 4, [4])])
def test_shares_are_equal_and_in_order(size: int, count: int, shares: list[int]) -> None:
    cut = Crew(size).shares(range(count))
    assert [len(share) for share in cut] == shares
    assert [item for share in cut for item in share] == list(range(count))
