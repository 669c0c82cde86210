"""Losses and advantages against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from agent.advantages import group_relative, returns_to_go, step_groups
from agent.losses import clipped_surrogate, doubt, masked_mean, table_kl
from envs.types import Action, Episode, Observation, Step, StopReason


def test_group_relative_by_hand() -> None:
    """Group a: returns 1, 0, 0.5 (mean 0.5): +0.5, -0.5, 0. Group b: both 1, nothing to compare."""
    advantages, flat = group_relative(np.array([1.0, 0.0, 1.0, 0.5, 1.0]), ["a", "a", "b", "a", "b"])
    assert advantages.tolist() == [0.5, -0.5, 0.0, 0.0, 0.0]
    assert flat == 1


def test_leave_one_out_by_hand() -> None:
    """Returns 1, 0, 0: against the others' means 0, .5, .5: +1, -.5, -.5, which is 3/2 of minus-the-mean."""
    advantages, _ = group_relative(np.array([1.0, 0.0, 0.0]), ["a"] * 3, leave_one_out=True)
    assert np.allclose(advantages, [1.0, -0.5, -0.5])


def test_std_scaling_by_hand() -> None:
    """Returns 2, 0: mean 1, sample std sqrt(2): +-1/sqrt(2)."""
    advantages, _ = group_relative(np.array([2.0, 0.0]), ["a", "a"], scale_by_std=True)
    assert np.allclose(advantages, [2**-0.5, -(2**-0.5)])


def test_doubt_by_hand() -> None:
    """1/2, 1/4, 1/4 of three: (ln 2 + 2 ln 4) / 3 - ln 3 = 0.0566. Even over the two that are there: 0."""
    table = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]).log()
    assert torch.allclose(doubt(table), torch.tensor([0.0566, 0.0]), atol=1e-4)


def test_doubt_pushes_a_dying_answer_harder_where_entropy_lets_go() -> None:
    """At probability e^-12 of two, the gradient in its logit is -1/2; that of the entropy is below 1e-4."""
    logits = torch.tensor([[12.0, 0.0]], requires_grad=True)
    table = logits.log_softmax(1)
    (push,) = torch.autograd.grad(doubt(table).sum(), logits, retain_graph=True)
    (pull,) = torch.autograd.grad(-(table.exp() * table).sum(), logits)
    assert torch.isclose(push[0, 1], torch.tensor(-0.5), atol=1e-3)
    assert pull.abs().max() < 1e-4


def test_returns_to_go_by_hand() -> None:
    """Rewards 1, 0, 2 at discount 0.5: 1 + 0.5 (0 + 0.5 * 2) = 1.5; 1; 2. The second episode starts anew: 3."""
    episodes = [episode("a", [("x", 1.0), ("y", 0.0), ("z", 2.0)]), episode("b", [("x", 3.0)])]
    assert returns_to_go(episodes, 0.5).tolist() == [1.5, 1.0, 2.0, 3.0]


def test_steps_are_compared_where_they_saw_the_same_in_the_same_group() -> None:
    """Both members of group a saw x; one went wrong there (to go 0) and one right (to go 1): -0.5 and +0.5."""
    episodes = [episode("a", [("x", 0.0), ("y", 1.0)]), episode("a", [("x", 0.0)]), episode("b", [("x", 7.0)])]
    groups = step_groups(episodes)
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3
    advantages, flat = group_relative(returns_to_go(episodes, 1.0), groups)
    assert advantages.tolist() == [0.5, 0.0, -0.5, 0.0]
    assert flat == 2


def episode(group: str, steps: list[tuple[str, float]]) -> Episode:
    action = Action("", np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.float32), "closed", 0, True)
    made = tuple(Step(Observation(text), ("a",), action, reward, 0.0, False, False, {}) for text, reward in steps)
    return Episode("id", "task", 0, group, 0, 1, "v", made, Observation(""), StopReason.TERMINATED, False)


def test_clipped_surrogate_by_hand() -> None:
    """Ratios 1.5, 0.5, 1.1 with advantages +1, -1, +2; clip 0.2 / 0.28.

    Terms: min(1.5, 1.28) = 1.28; min(-0.5, -0.8) = -0.8; min(2.2, 2.2) = 2.2. Mean 2.68 / 3; the loss is minus that.
    Two of three ratios lie outside. k3: mean of r - 1 - log r.
    """
    ratios = torch.tensor([[1.5], [0.5], [1.1]])
    old = torch.tensor([[-1.0], [-2.0], [-0.3]])
    loss, metrics = clipped_surrogate(
        old + ratios.log(), old, torch.tensor([1.0, -1.0, 2.0]), torch.ones(3, 1), clip_low=0.2, clip_high=0.28
    )
    assert float(loss) == pytest.approx(-2.68 / 3, rel=1e-5)
    assert float(metrics["clipfrac"]) == pytest.approx(2 / 3)
    assert float(metrics["approx_kl"]) == pytest.approx(float((ratios - 1 - ratios.log()).mean()), rel=1e-5)


def test_masked_places_count_for_nothing() -> None:
    """The second token of row 0 is padding: its absurd log-prob changes neither loss nor metrics."""
    now, old = torch.tensor([[-1.0, 50.0], [-1.0, -1.0]]), torch.tensor([[-1.0, 0.0], [-1.0, -1.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    loss, metrics = clipped_surrogate(now, old, torch.tensor([1.0, 2.0]), mask, 0.2, 0.28)
    assert float(loss) == pytest.approx(-5 / 3)
    assert float(metrics["ratio_max"]) == 1.0
    assert float(masked_mean(now, mask)) == pytest.approx(-1.0)


def test_clipping_stops_the_gradient() -> None:
    now = torch.tensor([[0.5]], requires_grad=True)  # ratio e^0.5 = 1.65, beyond 1.28
    loss, _ = clipped_surrogate(now, torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), 0.2, 0.28)
    loss.backward()
    assert now.grad is not None
    assert float(now.grad) == 0.0


def test_table_kl_by_hand() -> None:
    """KL([.5, .5] || [.25, .75]) = .5 ln 2 + .5 ln(2/3) = 0.143841; a smaller set is padded by -inf."""
    reference = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]).log()
    now = torch.tensor([[0.25, 0.75, 0.0], [0.2, 0.3, 0.5]]).log()
    assert torch.allclose(table_kl(reference, now), torch.tensor([0.1438410, 0.0]), atol=1e-6)
