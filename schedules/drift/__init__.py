"""What says that the world has changed: one detector a file.

A module defines `Config` (settings and `build()`); what it builds is a `Detector`: it is told one number an episode,
the larger the worse, and answers whether that number has *risen*. Of reward it is told how far an episode stays behind
the running baseline, of observations how new they are. A detector knows nothing of worlds, tasks or clocks.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from envs.component import load


class Detector(Protocol):
    """Watches one series of numbers for a rise."""

    def update(self, x: float) -> bool:
        """Whether the series has risen, now that it goes on with `x`; after an alarm the detector begins anew."""
        ...

    def reset(self) -> None:
        """Forget everything: from here on it is as it was when it was built."""
        ...


def build_detector(settings: Mapping[str, Any]) -> Detector:
    """The detector that `settings` name by `type`; raises as `envs.component.load` does."""
    detector: Detector = load("schedules.drift", settings, "drift detector").build()
    return detector
