"""Page-Hinkley: the sum of what lies above the mean so far, less an allowance; an alarm when it has climbed too high.

Page, Continuous inspection schemes (Biometrika 1954), as river has it, upwards only.
"""

from pydantic import Field

from envs.component import Settings


class Config(Settings):
    """How far the sum may climb.

    Attributes:
        threshold: the climb that is an alarm, in units of the series: successes missed, where it is success.
        delta: taken off at each episode, so that a rise of the mean by less is let pass.
    """

    threshold: float = Field(15.0, gt=0)
    delta: float = Field(0.05, ge=0)

    def build(self) -> "PageHinkley":
        return PageHinkley(self)


class PageHinkley:
    """Implements `schedules.drift.Detector`."""

    def __init__(self, settings: Config) -> None:
        from river.drift import PageHinkley as River  # takes over a second, and only who watches needs it

        self._make = lambda: River(threshold=settings.threshold, delta=settings.delta, mode="up")
        self.reset()

    def update(self, x: float) -> bool:
        """See `schedules.drift.Detector`."""
        self._sum.update(x)
        return bool(self._sum.drift_detected)

    def reset(self) -> None:
        """See `schedules.drift.Detector`."""
        self._sum = self._make()
