"""Due each time so much time has passed: `{type: interval, hours: 6}`."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from envs.component import Settings
from schedules.triggers import Status, missed, moment


class Config(Settings):
    """How long from one cycle's being due to the next; what is given is added up."""

    days: float = Field(0, ge=0)
    hours: float = Field(0, ge=0)
    minutes: float = Field(0, ge=0)
    seconds: float = Field(0, ge=0)

    @model_validator(mode="after")
    def _is_long_enough(self) -> Self:
        if self.length < timedelta(seconds=1):
            raise ValueError("an interval is a second or more: give it hours, for example {type: interval, hours: 6}")
        return self

    @property
    def length(self) -> timedelta:
        """All of it."""
        return timedelta(days=self.days, hours=self.hours, minutes=self.minutes, seconds=self.seconds)

    def build(self) -> "Interval":
        return Interval(self.length)


class Interval:
    """Implements `schedules.triggers.Trigger`. Intervals that were missed count as one."""

    def __init__(self, length: timedelta) -> None:
        self.length = length

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        times = (status.now - status.since) // self.length
        if times < 1:
            return None
        stopped = min(times, max(0, (status.started - status.since) // self.length))
        told = f"interval: {self.length} passed since {moment(status.since)}"
        return f"{told}{missed(times, stopped)}"
