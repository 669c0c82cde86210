"""When a cycle is due, and why in words: one trigger a file.

A module defines `Config` (settings and `build()`); what it builds is a `Trigger`. A trigger remembers nothing: all that
it may know is in the `Status` it is shown, and everything there counts from the last time it was due. So a restart
changes nothing, and nothing is due twice. A dotted path names a user's own module, which may lie beside the stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, Field

from envs.component import filled, load

LATEST = 1000
"""Outcomes of a task that a trigger is shown, at most."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a trigger is told: plain data. Times are aware and UTC.

    Attributes:
        now: the time; the only clock there is.
        since: when this trigger was last due, or when the life began. All that follows counts from there.
        started: when this process began to serve: what was due before was missed while it was stopped.
        episodes: lived, by regime.
        alarms: of drift, each as (regime, sentence), oldest first.
        outcomes: whether each of the last `LATEST` lived episodes of a regime succeeded, in the order they began in;
            one waits until those before it in its slot have ended.
        judgements: new ones, by who judged.
    """

    now: datetime
    since: datetime
    started: datetime
    episodes: Mapping[str, int] = field(default_factory=dict)
    alarms: tuple[tuple[str, str], ...] = ()
    outcomes: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)
    judgements: Mapping[str, int] = field(default_factory=dict)


class Trigger(Protocol):
    """Makes a cycle due."""

    def due(self, status: Status) -> str | None:
        """Why a cycle is due, in words with their numbers; None where none is. It reads no clock but `status.now`."""
        ...


def build_trigger(settings: Mapping[str, Any]) -> Trigger:
    """The trigger that `settings` name by `type`; raises as `envs.component.load` does."""
    trigger: Trigger = load("schedules.triggers", settings, "trigger").build()
    return trigger


def _each_filled(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [filled("schedules.triggers", part, "trigger", f"{i}") for i, part in enumerate(parts)]


Parts = Annotated[list[dict[str, Any]], Field(min_length=1), AfterValidator(_each_filled)]
"""Settings of the triggers that a trigger is made of: one at least, each checked and filled."""


def moment(time: datetime) -> str:
    """A time as it stands in a reason: minutes, with seconds only where there are any."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time.second else f"{time:%Y-%m-%d %H:%M} UTC"


def missed(times: int, stopped: int) -> str:
    """What is to be said of `times` due times that were taken together, `stopped` of them while nothing ran."""
    told = [
        f"{stopped} due time{'s' if stopped > 1 else ''} missed while it was stopped" if stopped else "",
        f"{times - 1} more due while it was busy" if times > 1 and not stopped else "",
    ]
    said = "; ".join(filter(None, told))
    return f" ({said}; taken together)" if said else ""
