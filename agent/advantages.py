"""Who gets how much credit: pure functions on NumPy arrays."""

from collections.abc import Hashable, Sequence

import numpy as np

from envs.types import Episode


def returns(episodes: Sequence[Episode]) -> np.ndarray:
    """Undiscounted return of each episode, float64 `[E]`."""
    return np.array([sum(step.reward for step in episode.steps) for episode in episodes], dtype=np.float64)


def returns_to_go(episodes: Sequence[Episode], discount: float) -> np.ndarray:
    """Discounted reward from each step on, float64 `[B]`, steps of all episodes in order."""
    out: list[float] = []
    for episode in episodes:
        total, mine = 0.0, []
        for step in reversed(episode.steps):
            total = step.reward + discount * total
            mine.append(total)
        out += reversed(mine)
    return np.array(out, dtype=np.float64)


def group_relative(
    values: np.ndarray, groups: Sequence[Hashable], leave_one_out: bool = False, scale_by_std: bool = False
) -> tuple[np.ndarray, int]:
    """Value minus the mean of its group (GRPO, arXiv 2402.03300), or of the others in it (RLOO, arXiv 2402.14740).

    Dividing by the group's standard deviation weighs easy and hard states more than middling ones (arXiv 2503.20783),
    so it is off unless asked for. A group without variance teaches nothing: its advantages are exactly 0.

    Args:
        values: float64 `[E]`.
        groups: the group of each, `[E]`.

    Returns:
        Advantages float64 `[E]`, and the number of groups without variance.
    """
    places: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    out = np.zeros(len(values))
    flat = 0
    for members in places.values():
        own = values[members]
        if own.max() - own.min() < 1e-9:
            flat += 1
            continue
        centred = own - own.mean()
        if leave_one_out:
            centred *= len(own) / (len(own) - 1)
        if scale_by_std:
            centred /= own.std(ddof=1)
        out[members] = centred
    return out, flat


def step_groups(episodes: Sequence[Episode]) -> list[Hashable]:
    """Which steps can be compared with each other, `[B]`: those of one group that saw the very same (GiGPO,
    arXiv 2505.10978). Steps that nobody else saw are alone in theirs."""
    seen: dict[int, Hashable] = {}

    def picture(image: np.ndarray) -> Hashable:
        if id(image) not in seen:
            seen[id(image)] = hash(image.tobytes())
        return seen[id(image)]

    return [
        (episode.group, step.observation.text, *map(picture, step.observation.images))
        for episode in episodes
        for step in episode.steps
    ]


def gae(rewards: np.ndarray, values: np.ndarray, beyond: float, discount: float, lam: float) -> np.ndarray:
    """Generalised advantage estimation (GAE, arXiv 1506.02438) over the steps of one episode, float64 `[T]`.

    Args:
        rewards, values: of each step, `[T]`.
        beyond: the value of what comes after the last step: 0 where the world ended it, never where a limit did.
    """
    out = np.zeros(len(rewards))
    following, kept = beyond, 0.0
    for t in range(len(rewards) - 1, -1, -1):
        kept = rewards[t] + discount * following - values[t] + discount * lam * kept
        out[t], following = kept, values[t]
    return out
