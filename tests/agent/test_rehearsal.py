"""Drift since stored: by hand, never more than the whole KL, and nothing where nothing changed."""

import numpy as np
import pytest
import torch

from agent.batch import Sample, Scores
from agent.policy import Policy
from agent.rehearsal import drifted, rehearse
from envs.collect import WorldPool
from envs.types import Observation
from tests.agent.learning import played


def said(*probabilities: float, choices: tuple[str, ...] | None = ("a", "b")) -> Sample:
    """An answer whose tokens had these probabilities when it was said."""
    logprobs = np.log(np.array(probabilities, np.float32))
    return Sample(Observation("?"), choices, np.arange(len(probabilities)), logprobs)


def scored(rows: list[list[float]], closed: list[bool]) -> Scores:
    """What those probabilities are now; 0 where there is no decision."""
    now = torch.tensor(rows)
    mask = (now > 0).float()
    return Scores(torch.log(now.clamp(min=1e-30)) * mask, mask, torch.zeros(len(rows)), None, torch.tensor(closed))


def kl(p: float, q: float) -> float:
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def test_drift_by_hand() -> None:
    """From 1/2 to 1/4: ln(2) / 2 + ln(2/3) / 2 = 0.1438 nats. The path of a closed answer is one decision."""
    assert kl(0.5, 0.25) == pytest.approx(0.14384, abs=1e-5)
    samples = [said(0.5), said(1.0, 0.5), said(0.9, 0.2, choices=None), said(0.5)]
    now = scored([[0.25, 0.0], [0.5, 0.0], [0.6, 0.4], [0.1, 0.0]], [True, True, False, True])
    told = drifted(["x", "y", "z", "x"], samples, now)
    assert told["x"] == pytest.approx((kl(0.5, 0.25) + kl(0.5, 0.1)) / 2, abs=1e-5)
    assert told["y"] == pytest.approx(0, abs=1e-6)
    assert told["z"] == pytest.approx((kl(0.9, 0.6) + kl(0.2, 0.4)) / 2, abs=1e-5)


def test_drift_is_never_below_0_and_never_more_than_the_whole_kl() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        then, now = rng.dirichlet([0.5] * 4).clip(1e-6), rng.dirichlet([0.5] * 4).clip(1e-6)
        whole = float(np.sum(then * np.log(then / now)))
        each = [
            drifted(["x"], [said(float(p))], scored([[float(q)]], [True]))["x"] for p, q in zip(then, now, strict=True)
        ]
        assert min(each) >= 0
        assert max(each) <= whole + 1e-3


def test_what_is_no_number_is_left_out() -> None:
    samples = [said(0.5), said(float("nan"))]
    assert drifted(["x", "y"], samples, scored([[0.5], [0.5]], [True, True])).keys() == {"x"}


def test_the_champion_has_not_drifted_from_itself_and_has_after_it_changed(policy: Policy, pool: WorldPool) -> None:
    """And which steps are rehearsed, of which episodes, is told by the same draw as ever."""
    old = played(policy, pool, 1)
    policy.discard()
    still = rehearse(policy, old, 16, np.random.default_rng(1))
    assert len(still.samples) == len(still.drift) == 16
    assert max(still.drift.values()) < 1e-4
    with torch.no_grad():
        for tensor in policy.adapters.tensors("champion").values():
            tensor.add_(0.3)
    policy.forget()
    moved = rehearse(policy, old, 16, np.random.default_rng(1))
    assert moved.drift.keys() == still.drift.keys() <= {episode.id for episode in old}
    assert [s.observation.text for s in moved.samples] == [s.observation.text for s in still.samples]
    assert min(moved.drift.values()) > 1e-4
