"""Pictures: kept while the tower is frozen, never while it is trained; the same under any processor shortcut."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.types import Observation

CHOICES = ("turn left", "turn right", "go forward")


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    return Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))


def observe(seed: int) -> Observation:
    picture = np.random.default_rng(seed).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    return Observation("<image>look", (picture,))


def test_a_trained_tower_is_never_remembered_and_takes_gradients(policy: Policy) -> None:
    weight = next(policy.checkpoint.model.model.connector.parameters()).requires_grad_(True)
    policy.vision.trained = True
    before = policy.table(observe(0), CHOICES)
    table = policy.score([policy.ask(observe(0), CHOICES)]).table
    assert table is not None
    table[0, 0].backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) > 0
    with torch.no_grad():
        weight += 0.5
    assert policy.table(observe(0), CHOICES) != before
    assert policy.vision.kept.bytes == 0
    assert policy.vision.tally.rate == 0


def test_a_frozen_tower_takes_no_gradients(policy: Policy) -> None:
    weight = next(policy.checkpoint.model.model.connector.parameters()).requires_grad_(True)
    policy.fork()
    table = policy.score([policy.ask(observe(0), CHOICES)]).table
    assert table is not None
    table[0, 0].backward()
    assert weight.grad is None


def test_the_bound_in_bytes_holds_and_the_least_used_goes(policy: Policy) -> None:
    policy.vision.pictures([observe(0).images])
    one = policy.vision.kept.bytes
    policy.vision.kept.limit_bytes = 2 * one
    for seed in (1, 0, 2):  # 1 is now the longest unused
        policy.vision.pictures([observe(seed).images])
    assert policy.vision.kept.bytes == 2 * one
    misses = policy.vision.tally.misses
    policy.vision.pictures([observe(0).images, observe(2).images])
    assert policy.vision.tally.misses == misses
    policy.vision.pictures([observe(1).images])
    assert policy.vision.tally.misses == misses + 1


def test_the_shortcut_gives_the_processors_pixels(policy: Policy) -> None:
    units = [observe(seed).images for seed in range(3)]
    pixels = policy.vision.pixels
    quick, slow = pixels(units), pixels._through_processor(units)
    assert pixels._affine[(56, 56, 3)] is not None
    assert set(quick) == set(slow)
    assert all(torch.allclose(quick[name].float(), slow[name].float(), atol=1e-6) for name in quick)
