"""What an update learns from: the world's reward and others beside it, each with its weight.

Rewards are composed when an update takes a round of episodes, never in what memory keeps: a weight that is changed
later changes how old episodes are read too.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from agent.told import told_names, told_number, was_stepped
from envs.actions import tidy
from envs.component import Settings
from envs.types import Episode, StopReason

Parts = dict[str, list[float]]
"""Of one episode: each part's weighted reward at each step."""


class CostBound(Settings):
    """How much `step.cost` an episode may gather, held by a Lagrange multiplier.

    Attributes:
        limit: mean cost per episode that is allowed.
        learning_rate: of the multiplier, per unit of cost above the limit, once a round.
        start, most: the multiplier's first and largest value.
    """

    limit: float = Field(ge=0, allow_inf_nan=False)
    learning_rate: float = Field(0.05, gt=0, allow_inf_nan=False)
    start: float = Field(0.0, ge=0, allow_inf_nan=False)
    most: float = Field(10.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _start_is_allowed(self) -> "CostBound":
        if self.start > self.most:
            raise ValueError(f"start is {self.start}, above most ({self.most}). Lower start, or raise most.")
        return self


class RewardSettings(Settings):
    """Weights of what makes a step's reward.

    Attributes:
        task: of the world's own reward.
        shaping: of `discount * potential after - potential before` (Ng, Harada and Russell 1999). A terminated state
            has potential 0; a truncated one keeps its own, for the episode would have gone on.
        discount: by which the update sums rewards; with another one shaping would change what is best. Returns of
            whole episodes are sums, so 1.
        format: paid for an answer that could be read.
        brevity: taken for each sampled token of an open answer beyond the first. Closed answers cost nothing.
        grounding: of the share of different names in the answer that are really there, less the share of those that
            are not. An answer that names nothing gets 0.
        cost: a bound on the world's cost; without one, cost enters no reward.
    """

    task: float = Field(1.0, allow_inf_nan=False)
    shaping: float = Field(0.0, allow_inf_nan=False)
    discount: float = Field(1.0, ge=0, le=1)
    format: float = Field(0.0, ge=0, allow_inf_nan=False)
    brevity: float = Field(0.0, ge=0, allow_inf_nan=False)
    grounding: float = Field(0.0, ge=0, allow_inf_nan=False)
    cost: CostBound | None = None

    def build(self, multiplier: float | None = None) -> "Rewards":
        """Rewards whose cost multiplier goes on from `multiplier`, or begins at `cost.start`."""
        return Rewards(self, multiplier)


class Rewards:
    """Composes rewards, and holds the multiplier of cost.

    The multiplier is one step of dual ascent a round, as in PPO-Lagrangian (Ray, Achiam and Amodei 2019, "Benchmarking
    Safe Exploration in Deep Reinforcement Learning"); the penalty stands in the reward, as in RCPO (arXiv 1805.11074).

    Attributes:
        multiplier: what a unit of cost takes from a reward now, 0 or more; keep it to go on from here.
    """

    def __init__(self, settings: RewardSettings, multiplier: float | None = None) -> None:
        self.settings = settings
        bound = settings.cost
        self.multiplier = 0.0
        if bound is not None:
            self.multiplier = _within(bound.start if multiplier is None else multiplier, bound)

    def of(self, episodes: Sequence[Episode]) -> tuple[list[Episode], dict[str, float]]:
        """Copies of `episodes` with composed rewards; then the multiplier moves by what they cost.

        Episodes that ended with an error of the world stay as they are, and count nowhere. If nothing but the world's
        own reward has a weight, and that is 1, the very episodes come back.

        Returns:
            The episodes, in order, and metrics: `cost` and, for each part with a weight, its share of the return (by
            the part's name: they and `-cost_multiplier * cost` sum up to the return), as means over episodes; and
            `cost_multiplier`, the one that was applied. No means without a sound episode.

        Raises:
            UserError: a part has a weight, and the world does not tell what it needs.
        """
        applied, names = self.multiplier, self._weighted()
        parts = [None if e.stop is StopReason.ENV_ERROR else self._parts(e, names) for e in episodes]
        sound = [(e, p) for e, p in zip(episodes, parts, strict=True) if p is not None]
        metrics = {"cost_multiplier": applied}
        if sound:
            metrics["cost"] = float(np.mean([sum(step.cost for step in e.steps) for e, _ in sound]))
            metrics |= {name: float(np.mean([sum(p[name]) for _, p in sound])) for name in names}
            self._move(metrics["cost"])
        if names == ["task"] and self.settings.task == 1 and applied == 0:
            return list(episodes), metrics
        return [e if p is None else _paid(e, p, applied) for e, p in zip(episodes, parts, strict=True)], metrics

    def _weighted(self) -> list[str]:
        return [name for name in PARTS if getattr(self.settings, name) != 0]

    def _parts(self, episode: Episode, names: Sequence[str]) -> Parts:
        return {name: [getattr(self.settings, name) * x for x in PARTS[name](episode, self.settings)] for name in names}

    def _move(self, cost: float) -> None:
        """A cost that is no number says nothing, and would stay in the multiplier for ever."""
        bound = self.settings.cost
        if bound is not None and math.isfinite(cost):
            self.multiplier = _within(self.multiplier + bound.learning_rate * (cost - bound.limit), bound)


def _within(multiplier: float, bound: CostBound) -> float:
    return max(0.0, min(bound.most, multiplier))


def _paid(episode: Episode, parts: Parts, multiplier: float) -> Episode:
    """The episode with the sum of `parts` as rewards, less what its cost takes."""
    rewards = [sum(at) for at in zip(*parts.values(), strict=True)] if parts else [0.0] * len(episode.steps)
    # nothing is taken at 0: a cost that is no number must not enter by 0 * nan
    penalties = [multiplier * step.cost if multiplier else 0.0 for step in episode.steps]
    return replace(
        episode,
        steps=tuple(
            replace(step, reward=reward - penalty)
            for step, reward, penalty in zip(episode.steps, rewards, penalties, strict=True)
        ),
    )


# -- parts: reward of each step, before its weight ---------------------------------------------------------------------


def _task(episode: Episode, settings: RewardSettings) -> list[float]:
    return [step.reward for step in episode.steps]


def _format(episode: Episode, settings: RewardSettings) -> list[float]:
    return [float(step.action.readable) for step in episode.steps]


def _brevity(episode: Episode, settings: RewardSettings) -> list[float]:
    return [-max(0.0, len(step.action.tokens) - 1.0) * (step.action.mode == "open") for step in episode.steps]


def _shaping(episode: Episode, settings: RewardSettings) -> list[float]:
    return [
        settings.discount * (0.0 if step.terminated else after) - before
        for step, (before, after) in zip(episode.steps, _potentials(episode, settings), strict=True)
    ]


def _potentials(episode: Episode, settings: RewardSettings) -> list[tuple[float, float]]:
    """Potential before and after each step. An answer that did not reach the world left it where it was."""
    asked, off = f"rewards.shaping is {settings.shaping}", "set rewards.shaping to 0"
    stepped = [step for step in episode.steps if was_stepped(step)]
    now = told_number(stepped[0], "potential_before", asked, off) if stepped else 0.0
    out = []
    for step in episode.steps:
        before = now
        if was_stepped(step):
            before = told_number(step, "potential_before", asked, off)
            now = told_number(step, "potential", asked, off)
        out.append((before, now))
    return out


def _grounding(episode: Episode, settings: RewardSettings) -> list[float]:
    asked, off = f"rewards.grounding is {settings.grounding}", "set rewards.grounding to 0"
    return [
        grounding(
            step.action.text,
            told_names(step, "present", asked, off),
            told_names(step, "absent", asked, off),
        )
        if was_stepped(step)
        else 0.0
        for step in episode.steps
    ]


def grounding(text: str, present: Sequence[str], absent: Sequence[str]) -> float:
    """Names in `text` that are there less names that are not, over the different names said; 0 if none, in -1..1.

    Names are whole words, in any case, and of two that overlap the longer one is meant. A name counts once: saying a
    right one again must not outweigh a wrong one.

    Example:
        >>> grounding("A red ball and a key, I think", ["red ball", "box"], ["ball", "key"])
        0.0
    """
    there, missing = {tidy(name) for name in present}, {tidy(name) for name in absent}
    longest_first = sorted(there | missing, key=lambda name: (-len(name), name))
    if not longest_first:
        return 0.0
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    said = set(re.findall(pattern, tidy(text)))
    return (len(said & there) - len(said & missing)) / len(said) if said else 0.0


PARTS: dict[str, Callable[[Episode, RewardSettings], list[float]]] = {
    "task": _task,
    "shaping": _shaping,
    "format": _format,
    "brevity": _brevity,
    "grounding": _grounding,
}
