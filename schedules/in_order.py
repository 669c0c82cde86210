"""What was lived, in the order it began in.

Worlds live side by side, and short episodes end first. Watched in the order of their ends, the first episodes of a
life, and of every new champion, would be the short ones: mostly successes, so that what is usual would look like a
fall. Nor would a life that was stopped, whose worlds begin anew together, be watched as one that was not.
The order holds within a slot, as the watch does: a long episode of one task holds back no other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from schedules.diary import Come
from schedules.lived import Lived

Told = tuple[str, Lived]
"""A regime, and what was lived in it."""


class InOrder:
    """Keeps back what ended before an older one of its slot did."""

    def __init__(self) -> None:
        self._ahead: list[Told] = []

    def turn(self, ended: Sequence[Told], come: Come) -> list[Told]:
        """What is to be watched now, by number.

        Args:
            ended: what ended since the last time.
            come: how far life has come with it.
        """
        kept = sorted([*self._ahead, *ended], key=lambda told: told[1].number)
        self._ahead = [(regime, lived) for regime, lived in kept if lived.number >= come.until(regime)]
        return [(regime, lived) for regime, lived in kept if lived.number < come.until(regime)]

    def clear(self) -> None:
        """What was kept back was another champion's."""
        self._ahead = []


def placed(come: Come, regime_of: Callable[[int], str], slots: Mapping[str, str]) -> Come:
    """With the first episodes that go on; from committed numbers alone, so that a restart places them alike.

    Args:
        regime_of: where an episode is lived, by its number.
        slots: of every regime.
    """
    first: dict[str, int] = {}
    for number in come.going_on:
        first.setdefault(slots[regime_of(number)], number)
    return replace(come, first={regime: first[slot] for regime, slot in slots.items() if slot in first})
