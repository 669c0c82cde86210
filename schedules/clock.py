"""Where a cycle's seconds go. Only reported: no decision reads a clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("rollout", "update", "exam", "memory", "tracking", "checkpoint", "other")


class PhaseClock:
    """Seconds by phase. Phases nest: an inner one's seconds are not the outer one's."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new cycle in phase `other`."""
        self.spent = dict.fromkeys(PHASES, 0.0)
        self._stack = ["other"]
        self._since = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """For the length of a block, seconds belong to `name`."""
        self._settle()
        self._stack.append(name)
        try:
            yield
        finally:
            self._settle()
            self._stack.pop()

    def seconds(self) -> dict[str, float]:
        """Seconds so far by phase, rounded to milliseconds."""
        self._settle()
        return {name: round(value, 3) for name, value in self.spent.items()}

    def _settle(self) -> None:
        now = time.perf_counter()
        self.spent[self._stack[-1]] += now - self._since
        self._since = now
