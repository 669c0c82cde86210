"""The identity world as a place to learn in: what the tests of updates share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from agent.learner import Metrics, Update
from agent.lesson import Lesson, Round
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.speech import Speech
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from envs.collect import WorldPool, collect
from envs.component import load
from envs.settings import Success, WorldSettings
from envs.types import Action, Episode, Observation, Step, StopReason, Ticket

WORLD = WorldSettings(id="envs.copycat:Copycat-v0", success=Success(return_at_least=1.0), expert=True)
EXCHANGES: list[dict[str, object]] = [
    {"type": "controls", "exchange": ["red", "green"]},
    {"type": "controls", "exchange": ["blue", "yellow"]},
]
FAST = {"learning_rate": 5e-3, "minibatch": 64}
TUNED: dict[str, dict[str, object]] = {
    "grpo": FAST,
    "rloo": FAST,
    "reinforce": {**FAST, "groups": 256},
    "ppo": {"learning_rate": 5e-3, "minibatch": 64, "groups": 256, "epochs": 2, "kl_weight": 0.01},
    "dpo": {"learning_rate": 3e-3, "minibatch": 64},
    "kto": {"learning_rate": 3e-3, "minibatch": 64, "groups": 64, "epochs": 2, "beta": 1},
    "sft": {"learning_rate": 3e-3, "minibatch": 64, "groups": 256},
    "hybrid": {},
    "stages": {},
}


def settings(name: str, **changes: object) -> dict[str, object]:
    """An update that learns copycat in 20 rounds, without rehearsal."""
    common = {"rounds": 20, "rehearsal_weight": 0.0, "groups": 32, **changes}
    if name == "hybrid":
        own = {key: changes.pop(key) for key in ("choose", "curiosity") if key in changes}
        return {"type": name, "rl": settings("grpo", **changes), "dpo": settings("dpo", **changes), **own}
    if name == "stages":
        halves = {**changes, "rounds": -(-int(str(common["rounds"])) // 2)}
        return {"type": name, "stages": [settings("sft", **halves), settings("grpo", **halves)]}
    return {"type": name, **common, **TUNED[name], **changes}


def build(name: str, **changes: object) -> Update:
    return load("agent.updates", settings(name, **changes), "update").build()


def learner_in(folder: Path, seed: int = 0, longest: int = 6, **model: object) -> Policy:
    """A policy on a tiny checkpoint, on one thread."""
    settings = ModelSettings.model_validate({"path": str(folder), "threads": 1, **model})
    return Policy(settings, LoraSettings(rank=8), seed, Speech(longest=longest))


def shaken(policy: Policy, scale: float = 0.3, seed: int = 1) -> Policy:
    """With weights of the speaking candidate that matter; the champion stays."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in policy.parameters():
            tensor += scale * torch.randn(tensor.shape, generator=generator)
    return policy


def paid(episode: Episode, reward: float) -> Episode:
    """The same one-step episode with another reward, and the success that goes with it."""
    step = replace(episode.steps[0], reward=reward, info={})
    return replace(episode, steps=(step,), success=reward >= 1)


def spoken(policy: Policy, texts: Sequence[str], rewards: Sequence[float], lengths: Sequence[int]) -> list[Episode]:
    """One-step episodes of open answers: a group for each text, its members paid and cut to so many tokens in turn."""
    members = len(rewards)
    seen = [Observation(text) for text in texts for _ in range(members)]
    replies = policy.act(seen, [None] * len(seen), [np.random.default_rng(i) for i in range(len(seen))])
    out = []
    for i, (observation, said) in enumerate(zip(seen, replies, strict=True)):
        group, member = divmod(i, members)
        tokens, logprobs = (part[: lengths[member]] for part in (said.tokens, said.logprobs))
        action = Action(said.text, tokens, logprobs, said.mode, f"{said.text}{member}", True)
        step = Step(observation, None, action, rewards[member], 0.0, True, False, {})
        stop = StopReason.TERMINATED
        out.append(Episode(f"{i}", "talk", i, f"{group}", member, 1, "v", (step,), observation, stop, step.reward >= 1))
    return out


def played(
    policy: Policy, pool: WorldPool, round_: int, groups: int = 32, size: int = 8, task: str = "copycat"
) -> list[Episode]:
    tickets = [
        Ticket(f"{round_}/{g}/{m}", task, 1000 * round_ + g, f"{round_}/{g}", m, 1)
        for g in range(groups)
        for m in range(size)
    ]
    return collect(policy, tickets, pool, width=256)


class Plays:
    """Plays fresh rounds, and hands them over as `change` makes them."""

    def __init__(
        self,
        policy: Policy,
        pool: WorldPool,
        task: str = "copycat",
        change: Callable[[list[Episode]], Sequence[Episode]] = list,
    ) -> None:
        self.policy, self.pool, self.task, self.change = policy, pool, task, change
        self.number = 0

    def __call__(self, groups: int, size: int, review: float = 0.0) -> Round:
        self.number += 1
        return Round(self.change(played(self.policy, self.pool, self.number, groups, size, self.task)))


def given(rounds: Iterable[Sequence[Episode]]) -> Callable[..., Round]:
    """Hands over these rounds, whatever is asked for."""
    waiting = iter(rounds)
    return lambda groups, size, review=0.0: Round(next(waiting))


def run(
    update: Update, policy: Policy, play: Callable[..., Round], rehearsal: Rehearsal | None = None, **more: object
) -> UpdateReport:
    """All steps of a fork."""
    return watched(update, policy, play, rehearsal, **more)[1]


def watched(
    update: Update, policy: Policy, play: Callable[..., Round], rehearsal: Rehearsal | None = None, **more: object
) -> tuple[list[Metrics], UpdateReport]:
    """All steps of a fork, and what each said."""
    policy.fork()
    lesson = Lesson(policy, play, rehearsal or Rehearsal([], None), np.random.default_rng(0), **more)  # type: ignore[arg-type]
    steps, told = update.steps(lesson), []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return told, end.value


def success(policy: Policy, pool: WorldPool, task: str = "copycat") -> float:
    """Of 256 episodes that no round plays."""
    return float(np.mean([e.success for e in played(policy, pool, 10_000, groups=256, size=1, task=task)]))
