"""When a cycle is due: every trigger by hand-made statuses, and a contract for all of the folder."""

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from envs.component import UserError, WrongPart, filled, names
from schedules.triggers import LATEST, Status, build_trigger

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)


def status(hours: float = 0, started: float = -1000, **more: Any) -> Status:
    """`hours` after the trigger was last due, which was at noon."""
    return Status(NOON + hours * HOUR, NOON, NOON + started * HOUR, **more)


BUSY: dict[str, Any] = {
    "episodes": {"goto": 10_000, "cards": 10_000},
    "alarms": (("goto", "success of goto went from 0.90 to 0.40"),),
    "outcomes": {"goto": (False,) * LATEST},
    "judgements": {"recorded": 1000},
}
"""Of this, everything is due."""

EXAMPLES: dict[str, dict[str, Any]] = {
    "all_of": {"of": [{"type": "drift"}, {"type": "interval", "hours": 6}]},
    "any_of": {"of": [{"type": "drift"}, {"type": "interval", "hours": 6}]},
    "cron": {"line": "0 3 * * *"},
    "drift": {},
    "episodes": {"count": 500},
    "interval": {"hours": 6},
    "judgements": {"count": 50},
    "success": {"task": "goto", "below": 0.8},
}


@pytest.mark.parametrize("name", names("schedules.triggers"))
def test_contract(name: str) -> None:
    """Nothing happened: not due. Much happened: due, in one line with a number. Asked twice, it says the same."""
    settings = {"type": name, **EXAMPLES[name]}
    trigger = build_trigger(settings)
    assert trigger.due(status()) is None
    assert trigger.due(status(-5)) is None, "a clock that jumped back makes nothing due"
    told = trigger.due(status(48, **BUSY))
    assert told is not None
    assert told == trigger.due(status(48, **BUSY)) == build_trigger(settings).due(status(48, **BUSY))
    assert any(character.isdigit() for character in told)
    assert "\n" not in told
    assert pickle.loads(pickle.dumps(trigger)).due(status(48, **BUSY)) == told
    again = filled("schedules.triggers", settings, "trigger")
    assert filled("schedules.triggers", again, "trigger") == again


CRON = {"type": "cron", "line": "0 3 * * *"}


@pytest.mark.parametrize(
    ("settings", "seen", "reason"),
    [
        (CRON, status(14.9), None),
        (CRON, status(15), "cron '0 3 * * *': due at 2026-03-03 03:00 UTC"),
        (
            CRON,
            status(24 * 3 + 1, started=24 * 3),
            "cron '0 3 * * *': due at 2026-03-05 03:00 UTC (3 due times missed while it was stopped; taken together)",
        ),
        (
            CRON,
            status(24 * 3 + 1, started=20),
            "cron '0 3 * * *': due at 2026-03-05 03:00 UTC (1 due time missed while it was stopped; taken together)",
        ),
        (
            CRON,
            status(24 * 3 + 1),
            "cron '0 3 * * *': due at 2026-03-05 03:00 UTC (2 more due while it was busy; taken together)",
        ),
        ({"type": "cron", "line": "0 0 * * sun"}, status(24 * 5), None),
        ({"type": "cron", "line": "0 0 * * sun"}, status(24 * 6), "cron '0 0 * * sun': due at 2026-03-08 00:00 UTC"),
        (
            {"type": "cron", "line": "* * * * *"},
            status(24 * 30),
            "cron '* * * * *': due since 2026-03-02 12:01 UTC (1000 due times or more, taken together)",
        ),
        ({"type": "interval", "hours": 6}, status(5.99), None),
        ({"type": "interval", "hours": 6}, status(6), "interval: 6:00:00 passed since 2026-03-02 12:00 UTC"),
        (
            {"type": "interval", "hours": 6},
            status(20, started=19),
            "interval: 6:00:00 passed since 2026-03-02 12:00 UTC (3 due times missed while it was stopped; "
            "taken together)",
        ),
        (
            {"type": "interval", "minutes": 30, "seconds": 1.5},
            status(1.2),
            "interval: 0:30:01.500000 passed since 2026-03-02 12:00 UTC (1 more due while it was busy; taken together)",
        ),
        ({"type": "episodes", "count": 500}, status(episodes={"goto": 300, "cards": 199}), None),
        (
            {"type": "episodes", "count": 500},
            status(episodes={"goto": 300, "cards": 203}),
            "episodes: 503 lived since the last time (every 500)",
        ),
        ({"type": "episodes", "count": 500, "task": "goto"}, status(episodes={"goto": 300, "cards": 900}), None),
        (
            {"type": "episodes", "count": 500, "task": "goto"},
            status(episodes={"goto": 500, "cards": 900}),
            "episodes: 500 lived in goto since the last time (every 500)",
        ),
        ({"type": "drift", "task": "cards"}, status(alarms=(("goto", "it fell"),)), None),
        ({"type": "drift"}, status(alarms=(("goto", "it fell by 0.5"),)), "drift: it fell by 0.5"),
        ({"type": "drift", "alarms": 2}, status(alarms=(("goto", "it fell"),)), None),
        (
            {"type": "drift", "alarms": 2},
            status(alarms=(("goto", "it fell"), ("goto", "it fell more"))),
            "drift: it fell more (alarm 2 since the last time)",
        ),
        ({"type": "success", "task": "goto", "below": 0.5, "last": 4}, status(outcomes={"goto": (False,) * 3}), None),
        (
            {"type": "success", "task": "goto", "below": 0.5, "last": 4},
            status(outcomes={"goto": (False, False, False, True, True)}),
            None,
        ),
        (
            {"type": "success", "task": "goto", "below": 0.5, "last": 4},
            status(outcomes={"goto": (True, True, False, False, False, True)}),
            "success: goto 0.25 over its last 4 lived episodes, below 0.5",
        ),
        ({"type": "judgements", "count": 3}, status(judgements={"recorded": 2, "returns": 9}), None),
        (
            {"type": "judgements", "count": 3},
            status(judgements={"recorded": 4}),
            "judgements: 4 new since the last time (every 3)",
        ),
        (
            {"type": "any_of", "of": [CRON, {"type": "drift"}]},
            status(15),
            "cron '0 3 * * *': due at 2026-03-03 03:00 UTC",
        ),
        (
            {"type": "any_of", "of": [CRON, {"type": "drift"}]},
            status(15, alarms=(("goto", "it fell"),)),
            "cron '0 3 * * *': due at 2026-03-03 03:00 UTC; drift: it fell",
        ),
        ({"type": "all_of", "of": [CRON, {"type": "drift"}]}, status(15), None),
        (
            {"type": "all_of", "of": [CRON, {"type": "drift"}]},
            status(15, alarms=(("goto", "it fell"),)),
            "cron '0 3 * * *': due at 2026-03-03 03:00 UTC and drift: it fell",
        ),
    ],
)  # fmt: skip
def test_due(settings: dict[str, Any], seen: Status, reason: str | None) -> None:
    assert build_trigger(settings).due(seen) == reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "cron", "line": "nightly"}, r"no cron line \(Wrong number of fields; got 1, expected 5\): "),
        ({"type": "cron", "line": "61 * * * *"}, r"no cron line \(.*61.*\): write minute, .* '0 3 \* \* mon-fri'"),
        ({"type": "cron", "line": "0 3 * * 1"}, "a weekday's number means another day to every cron: write minute"),
        ({"type": "cron", "line": "0 3 30 feb *"}, "no day is like this, so it would never be due: write minute"),
        ({"type": "interval"}, "an interval is a second or more: give it hours"),
        ({"type": "interval", "hours": -1}, "greater than or equal to 0"),
        ({"type": "episodes", "count": 0}, "greater than or equal to 1"),
        ({"type": "success", "task": "goto", "below": 0.5, "last": 1001}, "less than or equal to 1000"),
        ({"type": "judgements", "count": 5, "sources": []}, "at least 1 item"),
        ({"type": "any_of", "of": []}, "at least 1 item"),
    ],
)  # fmt: skip
def test_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build_trigger(settings)


def test_mistakes_within_others() -> None:
    """The place is told, however deep."""
    with pytest.raises(ValidationError) as caught:
        build_trigger({"type": "any_of", "of": [{"type": "drift"}, {"type": "all_of", "of": [{"type": "crn"}]}]})
    (error,) = caught.value.errors()
    cause: WrongPart = error["ctx"]["error"]
    assert cause.place == "1"
    with pytest.raises(UserError, match=r"no trigger 'crn'\. Did you mean 'cron'\?"):
        build_trigger({"type": "crn"})


def test_wakes_on_weekday_names_as_every_calendar_has_them() -> None:
    """2026-03-07 is a Saturday: mon-fri leaves it out."""
    line = build_trigger({"type": "cron", "line": "0 3 * * mon-fri"})
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)
    assert friday.strftime("%a") == "Fri"
    assert line.due(Status(friday + 60 * HOUR, friday, friday)) is None
    told = line.due(Status(friday + 63 * HOUR, friday, friday))
    assert told == "cron '0 3 * * mon-fri': due at 2026-03-09 03:00 UTC"
