"""Pairs of answers of which one is better, and how a group of episodes yields them.

Episodes of a group start from the same state. As long as two of them do the same they see the same; the first step at
which their commands differ is one observation with two answers, and the difference in return says which was better.
No model is asked, and the observation is shared by construction: pairs that do not share it would teach DPO the world's
luck instead of the agent's choice.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from envs.collect import same_observation
from envs.types import Action, Choices, Episode, Observation, Step, StopReason


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to one observation.

    Attributes:
        choices: the texts allowed there, or None where any text may be said.
        margin: how much better `chosen` was, in the unit of the source (returns: reward); above 0.
        source: who judged: `returns`, or an annotator's name.
        reference_logprobs: log-prob of the whole answer under the reference, (chosen, rejected), nats, both under
            their actions' mode; None until a reference has scored them.
        cycle: the cycle whose episodes it was made of.
    """

    observation: Observation
    choices: Choices
    chosen: Action
    rejected: Action
    margin: float
    source: str
    reference_logprobs: tuple[float, float] | None
    task: str
    cycle: int


def undiscounted_return(episode: Episode) -> float:
    """Sum of rewards, exactly rounded; not finite if a reward is not, or the sum is too large."""
    rewards = [float(step.reward) for step in episode.steps]
    try:
        return math.fsum(rewards)
    except (OverflowError, ValueError):  # too large; both infinities
        return sum(rewards)


def pairs_from_episodes(episodes: Iterable[Episode]) -> list[PreferencePair]:
    """A pair for every two episodes of a group that part ways and end with different returns.

    The reference is the policy that played: its log-probs came with the actions. Episodes that ended with an error of
    the world, or whose return is not finite, are left out: their return says nothing about the answer. So are two
    answers that the world read as the same command, and two that were sampled in different modes.

    Returns:
        Pairs in the order of groups, then of members as given.
    """
    groups: dict[tuple[str, str], list[tuple[Episode, float]]] = {}
    for episode in episodes:
        total = undiscounted_return(episode)
        if episode.stop is not StopReason.ENV_ERROR and math.isfinite(total):
            groups.setdefault((episode.task, episode.group), []).append((episode, total))
    pairs = []
    for members in groups.values():
        for (first, gain), (second, other) in itertools.combinations(members, 2):
            if gain == other:
                continue
            better, worse = (first, second) if gain > other else (second, first)
            parting = _first_parting(better.steps, worse.steps)
            if parting is not None:
                pairs.append(_pair(*parting, margin=abs(gain - other), episode=better))
    return pairs


def _first_parting(a: Sequence[Step], b: Sequence[Step]) -> tuple[Step, Step] | None:
    """The first steps that saw the same and did differently; None if the world itself parted them, or nothing did."""
    for one, other in zip(a, b, strict=False):
        if not same_observation(one.observation, other.observation) or one.choices != other.choices:
            return None
        if not _same_command(one.action, other.action):
            return (one, other) if one.action.mode == other.action.mode else None
    return None


def _same_command(a: Action, b: Action) -> bool:
    return a.readable == b.readable and bool(np.array_equal(a.command, b.command))


def _pair(chosen: Step, rejected: Step, margin: float, episode: Episode) -> PreferencePair:
    return PreferencePair(
        observation=chosen.observation,
        choices=chosen.choices,
        chosen=chosen.action,
        rejected=rejected.action,
        margin=margin,
        source="returns",
        reference_logprobs=(_total(chosen.action), _total(rejected.action)),
        task=episode.task,
        cycle=episode.cycle,
    )


def _total(action: Action) -> float:
    """Log-prob of the whole answer, nats, summed in float64."""
    return float(np.sum(action.logprobs, dtype=np.float64))
