"""Forwards that fit: a budget found from the model; where memory runs out it is halved, and nothing else changes."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.aside import Aside
from agent.inspection import TOLERANCE, round_trip
from agent.learner import Learner, UpdateSettings
from agent.lesson import Lesson
from agent.lvlm import budget as budgets
from agent.lvlm import checkpoint
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.budget import Budget, bytes_kept, find_tokens, is_out_of_memory
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.device import fast_dtype, memory_bytes, threads_for, torch_device
from agent.lvlm.speech import Speech
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from envs.component import UserError
from envs.types import Choices, Observation, Reply
from tests.agent.learning import given, spoken
from tests.tiny_families import build_family

CHOICES = ("turn left", "turn right", "go forward")
ASKED = [Observation(f"go to the {'red ' * (i % 4)}ball {'abcdefghijkl'[i]}") for i in range(12)]


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    """Prompts here are of 8 to 12 tokens."""
    return Policy(
        ModelSettings(path=str(tiny_folder), threads=1, token_budget=1024),
        LoraSettings(rank=4, last_layers=1),
        speech=Speech(longest=4),
    )


class Full:
    """Stands for a forward pass in a memory in which only so many padded tokens have room."""

    def __init__(self, real: Callable[..., Any], room: int, error: Callable[[], BaseException]) -> None:
        self.real, self.room, self.error = real, room, error
        self.refused = 0

    def __call__(self, rows: Any, *more: Any) -> Any:
        if len(rows) * max(len(row) for row in rows) > self.room:
            self.refused += 1
            raise self.error()
        return self.real(rows, *more)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    "numpy": MemoryError,
}


def act(policy: Policy, choices: Choices) -> list[Reply]:
    policy.decider.forget()  # so that it is thought about again
    return policy.act(ASKED, [choices] * len(ASKED), [np.random.default_rng(i) for i in range(len(ASKED))])


@pytest.mark.parametrize("error", ERRORS)
def test_acting_goes_on_with_half(policy: Policy, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    before = act(policy, CHOICES)
    full = Full(policy.engine.read, 40, ERRORS[error])
    monkeypatch.setattr(policy.engine, "read", full)
    after = act(policy, CHOICES)
    assert full.refused > 0
    assert policy.budget.halvings == full.refused
    assert policy.budget.tokens == 1024 // 2**full.refused
    assert [r.text for r in after] == [r.text for r in before]
    assert all(np.allclose(a.logprobs, b.logprobs, atol=1e-5) for a, b in zip(after, before, strict=True))
    act(policy, CHOICES)
    assert policy.budget.halvings == full.refused, "it was found once"


def test_memory_that_runs_out_aside_halves_nothing_of_the_learning(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the other way round; each remembers its own."""
    aside = Aside(policy)
    full = Full(policy.engine.read, 40, ERRORS["cuda"])
    with monkeypatch.context() as patch:
        patch.setattr(policy.engine, "read", full)
        with aside.turn():
            act(policy, CHOICES)
            there = policy.budget.tokens, policy.budget.halvings
    assert there == (1024 // 2**full.refused, full.refused)
    assert full.refused > 0
    assert (policy.budget.tokens, policy.budget.halvings) == (1024, 0)
    policy.budget.tokens = 512
    with aside.turn():
        assert (policy.budget.tokens, policy.budget.halvings) == there
    assert policy.budget.tokens == 512


def test_an_open_answer_broken_off_halfway_is_said_again_with_the_same_luck(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = act(policy, None)
    real = policy.speaker.log_probs
    calls = 0

    def log_probs(logits: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(logits)

    monkeypatch.setattr(policy.speaker, "log_probs", log_probs)
    after = act(policy, None)
    assert policy.budget.halvings == 1
    assert [r.tokens.tolist() for r in after] == [r.tokens.tolist() for r in before]


def test_scoring_goes_on_with_half(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [policy.ask(observation, CHOICES) for observation in ASKED]
    with torch.no_grad():
        before = policy.score(samples).table
        monkeypatch.setattr(policy.engine, "read", Full(policy.engine.read, 40, ERRORS["cuda"]))
        after = policy.score(samples).table
    assert policy.budget.halvings > 0
    assert before is not None
    assert after is not None
    assert torch.allclose(before, after, atol=1e-5)


def learn(policy: Policy, tokens: int) -> Rehearsal:
    """One optimizer step on 12 decisions, with 6 remembered ones, that begins with a budget of `tokens`."""
    samples = [policy.ask(observation, CHOICES) for observation in ASKED]
    with torch.no_grad():
        rehearsal = Rehearsal(samples[:6], policy.score(samples[:6]))
    policy.fork()
    policy.budget.tokens = tokens
    lesson = Lesson(policy, given([]), rehearsal, np.random.default_rng(0))
    learner = Learner("test", lesson, UpdateSettings(rehearsal_batch=6))
    learner.step(range(12), lambda some: (-policy.score([samples[i] for i in some]).sums.mean(), {}))
    return rehearsal


def test_a_round_is_read_before_its_steps_are_cut(policy: Policy) -> None:
    """A round played elsewhere, of prompts that this policy has not seen: 96 tokens are 8 of the longest, of 12."""
    policy.budget.tokens = 96
    episodes = spoken(policy, [seen.text for seen in ASKED], rewards=(0.0,), lengths=(1,))
    policy.forget()
    assert policy.samples_per_forward == 96, "nothing is known to be longer than a token"
    lesson = Lesson(policy, given([episodes]), Rehearsal([], None), np.random.default_rng(0))
    next(Learner("test", lesson, UpdateSettings(rounds=1)).rounds())
    assert policy.samples_per_forward == 96 // max(len(policy.prompter.prompt(seen)) for seen in ASKED) < 13


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_step_is_done_again_in_smaller_pieces(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The same weights to a bit as from a policy that began with the smaller budget; nothing is counted twice."""
    versions = []
    for budget in (32, 128):
        policy = Policy(ModelSettings(path=str(tiny_folder), threads=1, token_budget=32), LoraSettings(rank=4))
        with torch.no_grad():  # so that an answer depends on the prompt
            for number, tensor in enumerate(policy.adapters.tensors("champion").values()):
                tensor.normal_(0, 0.1, generator=torch.Generator().manual_seed(number))
        with monkeypatch.context() as patch:
            if budget == 128:
                run_out(patch, policy, where)
            rehearsal = learn(policy, budget)
        assert rehearsal.used == 6
        assert policy.budget.tokens == 32
        versions.append(policy.version)
    assert versions[0] == versions[1]


def run_out(patch: pytest.MonkeyPatch, policy: Policy, where: str) -> None:
    """Memory runs out, twice, in an optimizer step."""
    left = [2]
    real = {"forward": policy.engine.read, "backward": torch.autograd.grad}[where]

    def broken(*given: Any, **named: Any) -> Any:
        if left[0] and torch.is_grad_enabled():
            left[0] -= 1
            raise ERRORS["cuda"]()
        return real(*given, **named)

    if where == "forward":
        patch.setattr(policy.engine, "read", broken)
    else:
        patch.setattr(torch.autograd, "grad", broken)


def test_one_prompt_that_does_not_fit_is_said(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy.engine, "read", Full(policy.engine.read, 8, ERRORS["cuda"]))
    with pytest.raises(UserError, match="a single prompt takes more memory than there is"):
        act(policy, CHOICES)
    with pytest.raises(UserError, match="a single prompt takes more memory than there is"):
        learn(policy, 1024)


def test_other_faults_are_not_taken_for_it(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Full(policy.engine.read, 8, lambda: RuntimeError("shapes differ"))
    monkeypatch.setattr(policy.engine, "read", fault)
    with pytest.raises(RuntimeError, match="shapes differ"):
        act(policy, CHOICES)
    assert policy.budget.halvings == 0
    assert not is_out_of_memory(ValueError("out of memory"))


def test_groups_are_of_similar_length_and_within_the_budget() -> None:
    lengths = [5, 1, 4, 2, 9, 3]
    groups = [some for some, _ in Budget(10).each(lengths, lambda some: None, retry=True)]
    assert groups == [[1, 3, 5], [2, 0], [4]]
    assert all(len(some) * max(lengths[i] for i in some) <= 10 for some in groups)
    with pytest.raises(UserError, match=r"one prompt has 9 tokens, model\.token_budget is 8: raise it"):
        list(Budget(8).each(lengths, lambda some: None, retry=True))


def test_what_a_forward_keeps_is_counted_by_hand() -> None:
    """Of y = relu(x W), the input x (3 x 4 floats) and the result of relu (3 x 2) are kept; the weight is not."""
    layer = torch.nn.Linear(4, 2, bias=False)
    x = torch.ones(3, 4)
    assert bytes_kept(layer, lambda: torch.relu(layer(x))) == 4 * (3 * 4 + 3 * 2)


def test_looking_for_the_budget_leaves_no_tensor_behind() -> None:
    """A hook that keeps what it is shown would tie a graph to itself for good: nothing frees such a ring."""
    layer, x = torch.nn.Linear(4, 2), torch.ones(3, 4)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    before = tensors()
    bytes_kept(layer, lambda: torch.softmax(layer(x), -1))
    assert tensors() == before


def test_the_budget_is_what_fits_into_a_quarter_of_the_rest() -> None:
    layer = torch.nn.Linear(4, 2, bias=False)  # 32 bytes
    x = torch.ones(3, 4)  # 72 bytes kept for 3 tokens: 24 for each

    def find(memory: int, device: str = "cpu") -> int:
        return find_tokens(layer, lambda: torch.relu(layer(x)), 3, memory, device)

    assert find(32 + 4 * 24 * 1100) == 1024
    assert find(32 + 4 * 24 * 2047) == 1024
    assert find(32 + 4 * 24 * 2049) == 2048
    assert find(2**40) == budgets.MOST["cpu"]
    assert find(2**40, "cuda") == budgets.MOST["cuda"]
    assert find(16) == budgets.LEAST, "too little is found out by trying"


def test_a_policy_finds_its_budget_once_and_the_same_again(tiny_folder: Path) -> None:
    found = [
        Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4)).budget.tokens for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0] & (found[0] - 1) == 0


@pytest.mark.parametrize(
    ("usable", "busy", "threads"),
    [(2, 0.0, 2), (2, 0.2, 2), (2, 0.5, 1), (2, 1.0, 1), (16, 0.5, 8), (64, 0.003, 64)],
)
def test_threads_leave_busy_cores_to_others(usable: int, busy: float, threads: int) -> None:
    assert threads_for(usable, busy) == threads


def test_the_device_is_the_one_that_was_asked_for() -> None:
    device = torch_device("cpu")
    assert fast_dtype(device) == torch.float32
    assert memory_bytes(device) > 2**28
    for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not there:
            with pytest.raises(UserError, match=rf"model\.device is '{name}': torch .* finds no such device here"):
                torch_device(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["idefics3", "qwen2_vl", "mllama"])
def test_a_model_in_bfloat16_acts_scores_learns_and_is_saved(
    family: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; adapters stay in float32, and nothing is merged into weights that would lose its digits."""
    monkeypatch.setattr(checkpoint, "fast_dtype", lambda _: torch.bfloat16)
    folder = tiny_folder if family == "idefics3" else build_family(family, tmp_path / family)
    policy = Policy(ModelSettings(path=str(folder), threads=1), LoraSettings(rank=4, vision=True))
    assert policy.engine.embed.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    with policy.adapters.merged():
        assert all(layer.total is None for layer in policy.adapters._layers)
    assert round_trip(policy).difference < TOLERANCE[torch.bfloat16]
    policy.save(tmp_path / "one")
    policy.load_champion(tmp_path / "one")
