"""Due after so many lived episodes: `{type: episodes, count: 2000}`."""

from pydantic import Field

from envs.component import Settings
from schedules.triggers import Status


class Config(Settings):
    """`count` episodes, of all regimes, or only of the regime `task`."""

    count: int = Field(ge=1)
    task: str | None = None

    def build(self) -> "Episodes":
        return Episodes(self)


class Episodes:
    """Implements `schedules.triggers.Trigger`."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        task, count = self.settings.task, self.settings.count
        lived = sum(status.episodes.values()) if task is None else status.episodes.get(task, 0)
        if lived < count:
            return None
        return f"episodes: {lived} lived{'' if task is None else f' in {task}'} since the last time (every {count})"
