"""ADWIN: is there any split of the series after which the mean is higher than before?

Bifet and Gavalda, Learning from time-changing data with adaptive windowing (SDM 2007), as river has it. The series may
have any level; its steps are taken to be of order 1, as success is.
"""

from pydantic import Field

from envs.component import Settings


class Config(Settings):
    """When two parts of the series are taken to differ.

    Attributes:
        delta: significance of each comparison, 0..1: smaller is later and surer.
        clock: episodes between two looks; 1 looks at every one.
    """

    delta: float = Field(0.1, gt=0, lt=1)
    clock: int = Field(1, ge=1)

    def build(self) -> "Adwin":
        return Adwin(self)


class Adwin:
    """Implements `schedules.drift.Detector`; river's own test looks for a change both ways, a fall is no alarm."""

    def __init__(self, settings: Config) -> None:
        from river.drift import ADWIN  # takes over a second, and only who watches needs it

        self._make = lambda: ADWIN(delta=settings.delta, clock=settings.clock)
        self.reset()

    def update(self, x: float) -> bool:
        """See `schedules.drift.Detector`."""
        before = self._window.estimation
        self._window.update(x)
        return bool(self._window.drift_detected and self._window.estimation > before)

    def reset(self) -> None:
        """See `schedules.drift.Detector`."""
        self._window = self._make()
