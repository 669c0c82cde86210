"""Due when people have judged enough: `{type: judgements, count: 50}`."""

from pydantic import Field

from envs.component import Settings
from schedules.triggers import Status


class Config(Settings):
    """`count` new judgements that memory holds of the annotators `sources`."""

    count: int = Field(ge=1)
    sources: tuple[str, ...] = Field(("recorded",), min_length=1)

    def build(self) -> "Judgements":
        return Judgements(self)


class Judgements:
    """Implements `schedules.triggers.Trigger`."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def due(self, status: Status) -> str | None:
        """See `schedules.triggers.Trigger`."""
        new = sum(status.judgements.get(source, 0) for source in self.settings.sources)
        if new < self.settings.count:
            return None
        return f"judgements: {new} new since the last time (every {self.settings.count})"
