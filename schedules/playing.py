"""Fresh rounds for an update: played by the candidate as it is, remembered, and paid as the stream says."""

from collections.abc import Sequence

from agent.lesson import Round
from envs.collect import collect
from envs.types import Episode, Ticket
from schedules.loop import Loop
from schedules.seeds import training_seed


class Player:
    """Implements `agent.lesson.Play` for one cycle.

    Memory keeps episodes as the world paid them; the update sees them with composed rewards.

    Attributes:
        rewards: by task, with the multipliers of their costs.
    """

    def __init__(self, loop: Loop, cycle: int, task: str) -> None:
        self.loop = loop
        self.cycle = cycle
        self.task = task
        self.number = 0
        self.rewards = {
            name: regime.rewards.build(last_multiplier(loop, name)) for name, regime in loop.stream.regimes.items()
        }

    @property
    def multiplier(self) -> float | None:
        """What a unit of cost takes from a reward now; None where cost has no bound."""
        own = self.rewards[self.task]
        return own.multiplier if own.settings.cost is not None else None

    def __call__(self, groups: int, size: int, review: float = 0.0) -> Round:
        """See `agent.lesson.Play`."""
        loop = self.loop
        own = [self._ticket(self.task, str(group), member) for group in range(groups) for member in range(size)]
        old = self._review(round(review * groups), size)
        self.number += 1
        with loop.phase("rollout", f"{self.task}, round {self.number}"):
            episodes = collect(
                loop.policy, [*own, *old], loop.pool, loop.stream.width, loop.progress.tick, loop.preface
            )
            loop.played(episodes)
        with loop.phase("memory"):
            loop.memory.add(episodes)
        paid, about = self.rewards[self.task].of(episodes[: len(own)])
        return Round([*paid, *self._paid(episodes[len(own) :])], about)

    def _review(self, groups: int, size: int) -> list[Ticket]:
        """Groups of old tasks, in turn."""
        skills = self.loop.skills(self.cycle, self.task)
        return [
            self._ticket(skills[(self.number + group) % len(skills)], f"review/{group}", member)
            for group in range(groups if skills else 0)
            for member in range(size)
        ]

    def _paid(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes of old tasks, each paid as its own regime says."""
        tasks = dict.fromkeys(episode.task for episode in episodes)
        return [paid for task in tasks for paid in self.rewards[task].of([e for e in episodes if e.task == task])[0]]

    def _ticket(self, task: str, group: str, member: int) -> Ticket:
        """One episode of a group; members share the world's seed and differ in their sampling."""
        stream = self.loop.stream
        name = f"{stream.stream}/{self.cycle}/{self.task}/{self.number}/{group}"
        seed = training_seed(stream.seed, name)
        return Ticket(f"{stream.seed}/{name}/{member}", task, seed, name, member, self.cycle)


def last_multiplier(loop: Loop, task: str) -> float | None:
    """The price of cost with which the last cycle of this task ended."""
    last = [entry.report for entry in loop.committed[1:] if entry.report["task"] == task]
    return last[-1].get("cost_multiplier") if last else None
