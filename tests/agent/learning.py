"""The identity world as a place to learn in: what the tests of updates share."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from agent.learner import Update
from agent.lesson import Lesson, Round
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from envs.collect import WorldPool, collect
from envs.component import load
from envs.settings import Success, WorldSettings
from envs.types import Episode, Ticket

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
        return {"type": name, "rl": settings("grpo", **changes), "dpo": settings("dpo", **changes)}
    if name == "stages":
        halves = {**changes, "rounds": -(-int(str(common["rounds"])) // 2)}
        return {"type": name, "stages": [settings("sft", **halves), settings("grpo", **halves)]}
    return {"type": name, **common, **TUNED[name], **changes}


def build(name: str, **changes: object) -> Update:
    return load("agent.updates", settings(name, **changes), "update").build()


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
    policy.fork()
    lesson = Lesson(policy, play, rehearsal or Rehearsal([], None), np.random.default_rng(0), **more)  # type: ignore[arg-type]
    steps = update.steps(lesson)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def success(policy: Policy, pool: WorldPool, task: str = "copycat") -> float:
    """Of 256 episodes that no round plays."""
    return float(np.mean([e.success for e in played(policy, pool, 10_000, groups=256, size=1, task=task)]))
