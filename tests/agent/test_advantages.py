"""GAE against numbers worked out by hand, and against stable-baselines3."""

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from agent.advantages import gae


def test_gae_by_hand() -> None:
    """Rewards 0, 1; values 0.5, 0.6; ended by the world; discount 0.9, lambda 0.5.

    Last step: 1 - 0.6 = 0.4. First: 0 + 0.9 * 0.6 - 0.5 + 0.45 * 0.4 = 0.04 + 0.18 = 0.22.
    """
    assert np.allclose(gae(np.array([0.0, 1.0]), np.array([0.5, 0.6]), 0.0, 0.9, 0.5), [0.22, 0.4])


def test_a_limit_is_no_end() -> None:
    """The same, cut off by a limit where 2 was still expected: 1 + 1.8 - 0.6 = 2.2; 0.04 + 0.45 * 2.2 = 1.03."""
    assert np.allclose(gae(np.array([0.0, 1.0]), np.array([0.5, 0.6]), 2.0, 0.9, 0.5), [1.03, 2.2])


def test_endless_reward_of_one_is_worth_the_value_that_bootstraps_itself() -> None:
    """V = 1 / (1 - 0.9) = 10 everywhere: nothing is better than expected, whatever lambda is."""
    assert np.allclose(gae(np.ones(7), np.full(7, 10.0), 10.0, 0.9, 0.7), 0.0)


def test_as_stable_baselines3_does_it() -> None:
    rng = np.random.default_rng(0)
    lengths = (3, 1, 6)
    buffer = RolloutBuffer(sum(lengths), spaces.Discrete(2), spaces.Discrete(2), "cpu", gae_lambda=0.8, gamma=0.95)
    rewards, values = rng.normal(size=10), rng.normal(size=10)
    starts = np.zeros(10)
    starts[[0, 3, 4]] = 1
    for reward, value, start in zip(rewards, values, starts, strict=True):
        told = torch.tensor([value], dtype=torch.float32)
        buffer.add(np.zeros(1), np.zeros(1), np.array([reward]), np.array([start]), told, torch.zeros(1))
    buffer.compute_returns_and_advantage(torch.tensor([0.7]), np.array([0.0]))
    ends = np.cumsum(lengths)[:-1]
    beyond = (0.0, 0.0, 0.7)
    ours = [
        gae(r, v, last, 0.95, 0.8)
        for r, v, last in zip(np.split(rewards, ends), np.split(values, ends), beyond, strict=True)
    ]
    assert np.allclose(np.concatenate(ours), buffer.advantages.flatten(), rtol=1e-5, atol=1e-6)
