"""Due at the times of a cron line, in UTC: `{type: cron, line: "0 3 * * *"}` is every night at three."""

import re
from datetime import datetime, timedelta
from typing import Any

from apscheduler.triggers.cron import CronTrigger
from pydantic import field_validator

from envs.component import Settings
from schedules.triggers import Status, missed, moment

EXAMPLE = "write minute, hour, day, month and weekday, for example '0 3 * * mon-fri'"
MOST = 1000
"""Due times that are counted; beyond, only that there were more is said."""
TICK = timedelta(microseconds=1)


class Config(Settings):
    """`line` has five fields: minute, hour, day of the month, month, weekday (by name)."""

    line: str

    @field_validator("line")
    @classmethod
    def _is_one(cls, value: str) -> str:
        fields = value.split()
        if len(fields) == 5 and re.search(r"(?<![/\d])\d", fields[4]):
            raise ValueError(f"a weekday's number means another day to every cron: {EXAMPLE}")
        try:
            trigger = CronTrigger.from_crontab(value, timezone="UTC")
        except ValueError as error:
            raise ValueError(f"no cron line ({error}): {EXAMPLE}") from error
        if trigger.get_next_fire_time(None, datetime.fromisoformat("2000-01-01T00:00:00+00:00")) is None:
            raise ValueError(f"no day is like this, so it would never be due: {EXAMPLE}")
        return value

    def build(self) -> "Cron":
        return Cron(self.line)


class Cron:
    """Implements `schedules.triggers.Trigger`. Times that were missed count as one."""

    def __init__(self, line: str) -> None:
        self.line = line
        self._calendar: Any = CronTrigger.from_crontab(line, timezone="UTC")

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        times = self._between(status.since, status.now)
        if not times:
            return None
        stopped = sum(time <= status.started for time in times)
        if len(times) >= MOST:
            return f"cron '{self.line}': due since {moment(times[0])} ({MOST} due times or more, taken together)"
        return f"cron '{self.line}': due at {moment(times[-1])}{missed(len(times), stopped)}"

    def _between(self, since: datetime, now: datetime) -> list[datetime]:
        """Due times after `since` and up to `now`, the first `MOST` of them."""
        times: list[datetime] = []
        time = self._calendar.get_next_fire_time(None, since + TICK)
        while time is not None and time <= now and len(times) < MOST:
            times.append(time)
            time = self._calendar.get_next_fire_time(None, time + TICK)
        return times
