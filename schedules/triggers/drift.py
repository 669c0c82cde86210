"""Due when the watch over what is lived raises an alarm: `{type: drift}`."""

from pydantic import Field

from envs.component import Settings
from schedules.triggers import Status


class Config(Settings):
    """`alarms` it takes, of all regimes, or only of the regime `task`."""

    alarms: int = Field(1, ge=1)
    task: str | None = None

    def build(self) -> "Drift":
        return Drift(self)


class Drift:
    """Implements `schedules.triggers.Trigger`."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        heard = [told for task, told in status.alarms if self.settings.task in (None, task)]
        if len(heard) < self.settings.alarms:
            return None
        return f"drift: {heard[-1]}{f' (alarm {len(heard)} since the last time)' if len(heard) > 1 else ''}"
