"""Due when a regime goes badly: `{type: success, task: goto, below: 0.8}`."""

from pydantic import Field

from envs.component import Settings
from schedules.triggers import LATEST, Status


class Config(Settings):
    """Success (0..1) over the last `last` lived episodes of the regime `task` is under `below`."""

    task: str
    below: float = Field(gt=0, le=1)
    last: int = Field(100, ge=1, le=LATEST)

    def build(self) -> "Success":
        return Success(self)


class Success:
    """Implements `schedules.triggers.Trigger`. It waits until there are that many episodes."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        task, below, last = self.settings.task, self.settings.below, self.settings.last
        outcomes = status.outcomes.get(task, ())[-last:]
        if len(outcomes) < last or sum(outcomes) / last >= below:
            return None
        return f"success: {task} {sum(outcomes) / last:.2f} over its last {last} lived episodes, below {below:g}"
