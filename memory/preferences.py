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
        source: what made it: `returns`, or how the answers met and who judged them, for example `steps/oracle`.
        reference_logprobs: log-prob of the whole answer under the reference, (chosen, rejected), nats, both under
            their actions' mode; None until a reference has scored them.
        cycle: the cycle whose episodes it was made of.
        episodes: ids of the episodes whose answers these are: forgetting one forgets the pair.
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
    episodes: tuple[str, ...] = ()


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
    pairs = []
    for members in by_group(sound(episodes)):
        gained = [undiscounted_return(episode) for episode in members]
        for (first, gain), (second, other) in itertools.combinations(zip(members, gained, strict=True), 2):
            if gain == other:
                continue
            better, worse = (first, second) if gain > other else (second, first)
            place = parting(better.steps, worse.steps)
            if place is None or better.steps[place].action.mode != worse.steps[place].action.mode:
                continue
            steps = better.steps[place], worse.steps[place]
            pairs.append(make_pair(*steps, margin=abs(gain - other), source="returns", episodes=(better, worse)))
    return pairs


def sound(episodes: Iterable[Episode]) -> list[Episode]:
    """Those that something can be learned from: not ended by an error of the world, and with a finite return."""
    return [e for e in episodes if e.stop is not StopReason.ENV_ERROR and math.isfinite(undiscounted_return(e))]


def by_group(episodes: Iterable[Episode]) -> list[list[Episode]]:
    """Episodes of one task that start from the same state, in the order of groups, then as given."""
    groups: dict[tuple[str, str], list[Episode]] = {}
    for episode in episodes:
        groups.setdefault((episode.task, episode.group), []).append(episode)
    return list(groups.values())


def parting(a: Sequence[Step], b: Sequence[Step]) -> int | None:
    """The first place that saw the same and did differently; None if the world itself parted them, or nothing did."""
    for place, (one, other) in enumerate(zip(a, b, strict=False)):
        if not same_observation(one.observation, other.observation) or one.choices != other.choices:
            return None
        if not same_command(one.action, other.action):
            return place
    return None


def same_command(a: Action, b: Action) -> bool:
    """Whether the world took both for the same; an unreadable answer is another than the no-op it became."""
    return a.readable == b.readable and bool(np.array_equal(a.command, b.command))


def make_pair(
    chosen: Step, rejected: Step, margin: float, source: str, episodes: tuple[Episode, Episode]
) -> PreferencePair:
    """The pair of two steps of one observation; `episodes` are those they come from, of one task and cycle.

    The reference is who played them. An answer that nobody sampled has log-probs that are no numbers: no reference.
    """
    reference = _total(chosen.action), _total(rejected.action)
    return PreferencePair(
        observation=chosen.observation,
        choices=chosen.choices,
        chosen=chosen.action,
        rejected=rejected.action,
        margin=margin,
        source=source,
        reference_logprobs=reference if all(map(math.isfinite, reference)) else None,
        task=episodes[0].task,
        cycle=episodes[0].cycle,
        episodes=tuple(dict.fromkeys(episode.id for episode in episodes)),
    )


def _total(action: Action) -> float:
    """Log-prob of the whole answer, nats, summed in float64."""
    return float(np.sum(action.logprobs, dtype=np.float64))
