"""The known bad way, as a control: remembered episodes of old tasks go through the policy gradient beside fresh ones.

Their log-probs are those of the adapter that played them, cycles ago; clipped importance ratios are all that corrects
for it (Continual World, arXiv 2105.10919, found that this wrecks transfer). No update of the project offers it.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from agent.advantages import group_relative, returns
from agent.learner import Metrics
from agent.lesson import Lesson, Round
from agent.report import UpdateReport
from agent.surrogate import PolicyGradient
from agent.updates.grpo import Config as Grpo
from agent.updates.grpo import group_credit
from envs.types import Episode


class Config(Grpo):
    """`replayed` remembered episodes join each round; each is credited with its return less its task's mean."""

    replayed: int = Field(64, ge=1)

    def build(self) -> "StaleReplay":  # type: ignore[override]
        return StaleReplay(self)


class StaleReplay:
    """GRPO, and the remembered episodes in its loss."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        remembered = lesson.rehearsal.episodes

        def play(groups: int, size: int, review: float = 0.0) -> Round:
            fresh = lesson.play(groups, size, review)
            count = min(self.settings.replayed, len(remembered))
            drawn = lesson.rng.choice(len(remembered), count, replace=False).tolist() if count else []
            return Round([*fresh.episodes, *(remembered[i] for i in drawn)], fresh.about)

        clips = (self.settings.clip_low, self.settings.clip_high)
        return (
            yield from PolicyGradient("grpo, stale", self.settings, self.credit, clips).steps(
                replace(lesson, play=play)
            )
        )

    def credit(self, episodes: Sequence[Episode]) -> tuple[np.ndarray, Metrics]:
        """The advantage of each decision, float64 `[B]`; fresh episodes come first."""
        now = max(episode.cycle for episode in episodes) if episodes else 0
        fresh, old = ([e for e in episodes if (e.cycle == now) == new] for new in (True, False))
        own, about = group_credit(fresh, self.settings, leave_one_out=False)
        per_episode, _ = group_relative(returns(old), [e.task for e in old], scale_by_std=self.settings.scale_by_std)
        return np.concatenate([own, np.repeat(per_episode, [len(e.steps) for e in old])]), about
