"""The control that looks at nothing: an alarm every so many episodes. A detector must be better than a calendar."""

from pydantic import Field

from envs.component import Settings


class Config(Settings):
    """`episodes` from one alarm to the next."""

    episodes: int = Field(200, ge=1)

    def build(self) -> "Every":
        return Every(self.episodes)


class Every:
    """Implements `schedules.drift.Detector`."""

    def __init__(self, episodes: int) -> None:
        self._episodes, self._seen = episodes, 0

    def update(self, x: float) -> bool:
        """See `schedules.drift.Detector`: whatever `x` is."""
        self._seen = (self._seen + 1) % self._episodes
        return self._seen == 0

    def reset(self) -> None:
        """See `schedules.drift.Detector`."""
        self._seen = 0
