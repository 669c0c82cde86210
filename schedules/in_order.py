"""What was lived, in the order it began in.

Worlds live side by side, and short episodes end first. Watched in the order of their ends, the first episodes of a
life, and of every new champion, would be the short ones: mostly successes, so that what is usual would look like a
fall. Nor would a life that was stopped, whose worlds begin anew together, be watched as one that was not.
"""

from collections.abc import Sequence

from schedules.lived import Lived

Told = tuple[str, Lived]
"""A regime, and what was lived in it."""


class InOrder:
    """Keeps back what ended before an older one did."""

    def __init__(self) -> None:
        self._ahead: list[Told] = []

    def turn(self, ended: Sequence[Told], first: int) -> list[Told]:
        """What is to be watched now, by number.

        Args:
            ended: what ended since the last time.
            first: the number of the first episode that has not ended.
        """
        kept = sorted([*self._ahead, *ended], key=lambda told: told[1].number)
        self._ahead = [told for told in kept if told[1].number >= first]
        return kept[: len(kept) - len(self._ahead)]

    def clear(self) -> None:
        """What was kept back was another champion's."""
        self._ahead = []
