"""Due when any of its triggers is: `{type: any_of, of: [{type: drift}, {type: interval, days: 1}]}`."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from envs.component import Settings, filled
from schedules.triggers import Status, Trigger, build_trigger


class Config(Settings):
    """The triggers, each with its own settings."""

    of: list[dict[str, Any]] = Field(min_length=1)

    @field_validator("of")
    @classmethod
    def _filled(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [filled("schedules.triggers", item, "trigger", f"{i}") for i, item in enumerate(value)]

    def build(self) -> "AnyOf":
        return AnyOf([build_trigger(item) for item in self.of])


class AnyOf:
    """Implements `schedules.triggers.Trigger`. Its reason is that of all that are due."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.triggers = triggers

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        return "; ".join(told for trigger in self.triggers if (told := trigger.due(status))) or None
