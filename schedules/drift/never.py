"""The control that sees nothing: what is lost without drift detection."""

from envs.component import Settings


class Config(Settings):
    """No settings."""

    def build(self) -> "Never":
        return Never()


class Never:
    """Implements `schedules.drift.Detector`."""

    def update(self, x: float) -> bool:
        """See `schedules.drift.Detector`: never."""
        return False

    def reset(self) -> None:
        """See `schedules.drift.Detector`."""
