"""How good a detector is where it is known when the world drifted: found, missed, how late, and how often for nothing.

A drift point is the number of the first episode in the changed world. The `window` episodes from it on are its own, as
far as the next drift point. The first alarm in them is the detection; later ones there are repeats, neither found nor
false: the world did change. Any other alarm is false, the ones just before a drift point too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True, slots=True)
class DriftScores:
    """Counts of one life, or of several together.

    Attributes:
        drifts: known drift points.
        delays: of each one that was found, episodes of the changed world it took: 1 if the first raised the alarm.
        repeats: alarms in a window after the one that found the drift.
        false_alarms: alarms in no window.
        quiet: episodes in no window.
    """

    drifts: int
    delays: tuple[int, ...]
    repeats: int
    false_alarms: int
    quiet: int

    @property
    def found(self) -> int:
        """Drifts that were found."""
        return len(self.delays)

    @property
    def missed(self) -> int:
        """Drifts that were not."""
        return self.drifts - len(self.delays)

    @property
    def delay_median(self) -> float | None:
        """Of those found, in episodes; None where none was."""
        return float(median(self.delays)) if self.delays else None

    @property
    def false_per_1000(self) -> float | None:
        """False alarms per 1000 episodes in no window; None where there are none such."""
        return 1000 * self.false_alarms / self.quiet if self.quiet else None


def drift_scores(alarms: Iterable[int], drifts: Sequence[int], episodes: int, window: int) -> DriftScores:
    """Score the alarms of one life.

    Args:
        alarms: their `Alarm.episode`, 1..`episodes`.
        drifts: numbers of the first episodes after each drift, ascending.
        episodes: how many were lived.
        window: episodes from a drift point on in which an alarm counts as finding it.

    Raises:
        ValueError: a number is out of range, drift points are not ascending, or `window` is below 1.
    """
    alarms = sorted(alarms)
    if window < 1:
        raise ValueError(f"window is {window}: give 1 or more")
    if any(not 1 <= number <= episodes for number in [*alarms, *drifts]):
        raise ValueError(f"alarms and drift points are numbers of episodes, 1..{episodes}")
    if any(a >= b for a, b in pairwise(drifts)):
        raise ValueError("drift points must be ascending, each once")
    ends = [min(start + window, after) for start, after in zip(drifts, [*drifts, episodes + 1][1:], strict=True)]
    within = [[a for a in alarms if start <= a < end] for start, end in zip(drifts, ends, strict=True)]
    return DriftScores(
        drifts=len(drifts),
        delays=tuple(inside[0] - start + 1 for start, inside in zip(drifts, within, strict=True) if inside),
        repeats=sum(max(0, len(inside) - 1) for inside in within),
        false_alarms=len(alarms) - sum(map(len, within)),
        quiet=episodes - sum(end - start for start, end in zip(drifts, ends, strict=True)),
    )


def together(scores: Iterable[DriftScores]) -> DriftScores:
    """Several lives as one."""
    all_of = list(scores)
    return DriftScores(
        drifts=sum(one.drifts for one in all_of),
        delays=tuple(delay for one in all_of for delay in one.delays),
        repeats=sum(one.repeats for one in all_of),
        false_alarms=sum(one.false_alarms for one in all_of),
        quiet=sum(one.quiet for one in all_of),
    )
