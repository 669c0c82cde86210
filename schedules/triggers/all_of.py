"""Due when all of its triggers are: `{type: all_of, of: [{type: drift}, {type: episodes, count: 500}]}`."""

from collections.abc import Sequence

from envs.component import Settings
from schedules.triggers import Parts, Status, Trigger, build_trigger


class Config(Settings):
    """The triggers, each with its own settings. They count from the last time that all were due."""

    of: Parts

    def build(self) -> "AllOf":
        return AllOf([build_trigger(item) for item in self.of])


class AllOf:
    """Implements `schedules.triggers.Trigger`. Its reason is that of all of them."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.triggers = triggers

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        told = [trigger.due(status) for trigger in self.triggers]
        return " and ".join(reason for reason in told if reason) if all(told) else None
