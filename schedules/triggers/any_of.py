"""Due when any of its triggers is: `{type: any_of, of: [{type: drift}, {type: interval, days: 1}]}`."""

from collections.abc import Sequence

from envs.component import Settings
from schedules.triggers import Parts, Status, Trigger, build_trigger


class Config(Settings):
    """The triggers, each with its own settings."""

    of: Parts

    def build(self) -> "AnyOf":
        return AnyOf([build_trigger(item) for item in self.of])


class AnyOf:
    """Implements `schedules.triggers.Trigger`. Its reason is that of all that are due."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.triggers = triggers

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        return "; ".join(told for trigger in self.triggers if (told := trigger.due(status))) or None
