"""Which adapters learned from something: themselves, or because they go on from one that did."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from schedules.checkpoint import Committed


@dataclass(frozen=True, slots=True)
class Learners:
    """Folders of adapters, in order of their cycles.

    Attributes:
        direct: champions of cycles that learned from it.
        descended: champions that go on from one of these, however far.
    """

    direct: tuple[str, ...]
    descended: tuple[str, ...]


def learners(cycles: Sequence[Committed], taught: Collection[int]) -> Learners:
    """Adapters that hold what was learned in the cycles `taught`; a refused candidate took it with it."""
    direct: list[str] = []
    descended: list[str] = []
    for i, entry in enumerate(cycles):
        if not promoted(entry):
            continue
        if entry.cycle in taught:
            direct.append(entry.champion)
        elif cycles[i - 1].champion in {*direct, *descended}:  # its parent: after a rollback, not always the last one
            descended.append(entry.champion)
    return Learners(tuple(direct), tuple(descended))


def trained(cycles: Sequence[Committed], task: str | None, before: int | None) -> set[int]:
    """Cycles before this one that trained a regime (None: any), also with episodes that were evicted since."""
    return {
        entry.cycle
        for entry in cycles[1:]
        if task in (None, entry.report["task"]) and (before is None or entry.cycle < before)
    }


def promoted(entry: Committed) -> bool:
    """Whether the cycle made a new champion; cycle 0 is the examination before any training."""
    return bool(entry.report.get("accepted"))
