"""The critic of PPO: a small value head on the last state of a prompt, which never moves the LVLM."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from agent.batch import sample_of
from agent.lesson import Lesson
from agent.policy import Policy
from envs.types import Episode


def final_values(policy: Policy, critic: nn.Module, episodes: Sequence[Episode]) -> list[float]:
    """What the critic expects beyond the end of episodes that were cut off."""
    asked = [sample_of(e.final, e.steps[-1].choices, e.steps[-1].action) for e in episodes]
    if not asked:
        return []
    with torch.no_grad():
        states = policy.score(asked, states=True).states
        assert states is not None
        return critic(states).flatten().tolist()


def make_critic(lesson: Lesson) -> nn.Sequential:
    """A small value head on a prompt's last state, its first weights from the lesson's own luck."""
    width = lesson.policy.engine.embed.weight.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(lesson.rng.integers(2**31)))
        return nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 1))


def warm_up(critic: nn.Module, states: Tensor, gains: np.ndarray, steps: int) -> float:
    """Fit the critic to returns; the mean squared error that is left."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3, weight_decay=1e-4)
    wanted = torch.from_numpy(gains).float()
    loss = torch.zeros(())
    for _ in range(steps):
        loss = nn.functional.mse_loss(critic(states).flatten(), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())
