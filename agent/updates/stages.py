"""Several updates one after the other in a cycle, for example SFT until actions are said at all, then DPO, then RL.

In a stream it is simply a list: `update: [{type: sft, rounds: 4}, {type: dpo}, {type: grpo}]`. Metrics: those of each
stage behind its number and name, as `1-sft/nll`.
"""

from collections.abc import Generator, Sequence
from typing import Any

from pydantic import Field, field_validator

from agent.learner import Metrics, Update
from agent.lesson import Lesson
from agent.report import UpdateReport
from envs.component import Settings, filled, load


class Config(Settings):
    """The stages, each an update with its own settings."""

    stages: list[dict[str, Any]] = Field(min_length=1)

    @field_validator("stages")
    @classmethod
    def _filled(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [filled("agent.updates", stage, "update", f"{i}") for i, stage in enumerate(value)]

    def build(self) -> "Stages":
        return Stages([load("agent.updates", stage, "update").build() for stage in self.stages])


class Stages:
    """Runs updates in order on the same candidate."""

    def __init__(self, stages: Sequence[Update]) -> None:
        self.stages = stages

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        reports = []
        for number, stage in enumerate(self.stages, 1):
            reports.append((number, (yield from stage.steps(lesson))))
        return merged(reports)


def merged(reports: Sequence[tuple[int, UpdateReport]]) -> UpdateReport:
    """One report of several stages: sums of what was done, distances as the last one left them."""
    last = reports[-1][1]
    each = [(f"{number}-{report.algorithm}", report) for number, report in reports]
    return UpdateReport(
        " -> ".join(report.algorithm for _, report in reports),
        sum(report.optimizer_steps for _, report in reports),
        sum(report.samples_new for _, report in reports),
        last.samples_rehearsed,
        last.kl_new,
        last.kl_old_tasks,
        "; ".join(f"{name}: {report.skipped}" for name, report in each if report.skipped),
        "; ".join(f"{name} {report.stopped}" for name, report in each if report.stopped),
        sum(report.flops for _, report in reports),
        {f"{name}/{metric}": value for name, report in each for metric, value in report.metrics.items()},
        "; ".join(f"{name}: {report.reason}" for name, report in each if report.reason),
    )
