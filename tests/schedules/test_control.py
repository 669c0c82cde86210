"""What people say to a service is heard until it was dealt with."""

from datetime import UTC, datetime
from pathlib import Path

from schedules.control import Command, Control

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def test_a_word_that_a_kill_came_between_is_heard_again(tmp_path: Path) -> None:
    """Three are left; the service dies while it deals with the second."""
    control = Control(tmp_path)
    for task in "abc":
        control.say("cycle", task, NOW)
    words = control.heard()
    assert [next(words), next(words)] == [Command("cycle", task, NOW.isoformat()) for task in "ab"]
    words.close()
    control.close()
    again = Control(tmp_path)
    assert [word.about for word in again.heard()] == ["b", "c"]
    assert [*again.heard()] == []
    again.close()
