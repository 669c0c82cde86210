"""What is shared changes nothing: prompts of a piece, places of a prompt. Only the time does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.batch import Sample
from agent.learner import Learner, UpdateSettings
from agent.lesson import Lesson
from agent.lvlm.adapters import CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.engine import Engine
from agent.lvlm.rows import Row, Told
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from envs.types import Choices, Observation
from tests.agent.learning import given

WORDS = ("turn left", "turn right now", "go forward", "say", "the word", "red ball red ball", "x", "turn left turn")
GROUPS, SIZE = 8, 8


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    """A forked candidate that was moved."""
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    policy.fork()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CANDIDATE).values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    return policy


def samples(policy: Policy, choices: Choices = None) -> list[Sample]:
    """Groups of eight answers to the same, which differ in length."""
    answers = [policy.prompter.answer(text) for text in WORDS]
    seen = [Observation(f"say the word {'red ' * group}") for group in range(GROUPS)]
    return [
        Sample(seen[i // SIZE], choices, answers[i % SIZE], np.zeros(len(answers[i % SIZE]), np.float32))
        for i in range(GROUPS * SIZE)
    ]


def gradients(policy: Policy, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, policy.parameters()))


def test_answers_scored_together_are_those_scored_alone(policy: Policy) -> None:
    """Open ones, with closed ones among them: log-probs, masks, entropies, and the gradients of both."""
    asked = [s for pair in zip(samples(policy), samples(policy, WORDS), strict=True) for s in pair][: 3 * SIZE]
    together = policy.score(asked)
    alone = [policy.score([sample]) for sample in asked]
    for i, each in enumerate(alone):
        width = each.mask.shape[1]
        assert torch.equal(together.mask[i, :width], each.mask[0])
        assert not together.mask[i, width:].any()
        assert torch.allclose(together.logprobs[i, :width], each.logprobs[0], atol=1e-5)
    entropies = torch.cat([each.entropy for each in alone])
    assert torch.allclose(together.entropy, entropies, atol=1e-5)
    sums = torch.cat([each.sums for each in alone])
    weights = torch.linspace(-1, 1, len(asked))
    ours = gradients(policy, ((together.sums + together.entropy) * weights).mean())
    expected = gradients(policy, ((sums + entropies) * weights).mean())
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_step_runs_the_prompt_of_a_group_once(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight groups of eight in a random order, and room for 16 prompts in a forward: four pieces, eight rows in all.

    Cut as they come, nearly every piece would hold some member of nearly every group.
    """
    rows = []
    read = Engine.read

    def spied(self: Engine, asked: Sequence[Row], most_tokens: int) -> list[Told]:
        rows.append(len(asked))
        return read(self, asked, most_tokens)

    batch = samples(policy)
    weights = torch.linspace(-1, 1, len(batch))

    def loss(some: Sequence[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return (policy.score([batch[i] for i in some]).sums * weights[list(some)]).mean(), {}

    expected = gradients(policy, loss(range(len(batch)))[0])
    policy.budget.tokens = 2 * SIZE * policy.prompter.longest_seen
    rng = np.random.default_rng(0)
    lesson = Lesson(policy, given([]), Rehearsal([], None), rng)
    learner = Learner("test", lesson, UpdateSettings(max_grad_norm=1e9))
    monkeypatch.setattr(Engine, "read", spied)
    learner.step(rng.permutation(len(batch)).tolist(), loss)
    assert rows == [2, 2, 2, 2]
    for parameter, gradient in zip(policy.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, atol=1e-5)
