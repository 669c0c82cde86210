"""The way from the outbox to MLflow: in order, again after any trouble, and never in the way of a cycle."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schedules.tracking import Tracker

BRIEF = 200
"""Characters of an error that are told."""


def deliver(
    tracker: "Tracker",
    stream: str,
    params: Mapping[str, Any],
    waiting: Callable[[], Iterable[Mapping[str, Any]]],
    sent: Callable[[int], None],
    again: Callable[[], int],
) -> str:
    """Send what waits in the outbox, in order, and tell `sent` each cycle that is there; starts the tracker if need be.

    Args:
        again: lets everything wait once more, for an MLflow that has lost it; returns how many cycles that are.

    Returns:
        What was mended, and why the rest stays in the outbox for the next time if it does: cycles go on meanwhile.
    """
    number, tracker.telling = None, True
    try:
        if tracker.ids is None or tracker.failed:
            tracker.start(stream, params)
            tracker.failed = False
            lost = again() if tracker.anew else 0
            if lost:
                tracker.notes.append(f"MLflow's record was gone: {lost} cycles are sent again.")
        for cycle in waiting():
            number = cycle["cycle"]
            tracker.record(cycle)
            sent(number)
    except Exception as error:  # MLflow passes on errors of its database, files and server, each of another kind
        tracker.failed = True
        what = "the start of the record" if number is None else f"cycle {number}"
        told = f"MLflow did not take {what} ({brief(error)}); it is kept and sent again after the next cycle."
        tracker.notes.append(told)
    tracker.telling = False
    told, tracker.notes = " ".join(tracker.notes), []
    return told


def brief(error: Exception) -> str:
    """The first line of an error: SQLAlchemy's go on for pages."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:BRIEF]
