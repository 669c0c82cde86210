"""Who gets how much credit: pure functions on NumPy arrays."""

from collections.abc import Sequence

import numpy as np

from envs.types import Episode


def returns(episodes: Sequence[Episode]) -> np.ndarray:
    """Undiscounted return of each episode, float64 `[E]`."""
    return np.array([sum(step.reward for step in episode.steps) for episode in episodes], dtype=np.float64)


def group_relative(
    values: np.ndarray, groups: Sequence[str], leave_one_out: bool = False, scale_by_std: bool = False
) -> tuple[np.ndarray, int]:
    """Return minus the mean of its group (GRPO, arXiv 2402.03300), or of the others in it (RLOO, arXiv 2402.14740).

    Dividing by the group's standard deviation weighs easy and hard states more than middling ones (arXiv 2503.20783),
    so it is off unless asked for. A group without variance teaches nothing: its advantages are 0.

    Args:
        values: float64 `[E]`.
        groups: the group of each, `[E]`.

    Returns:
        Advantages float64 `[E]`, and the number of groups without variance.
    """
    out = np.zeros(len(values))
    flat = 0
    for group in dict.fromkeys(groups):
        members = np.array([g == group for g in groups])
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
