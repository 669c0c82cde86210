"""What a person can get wrong about a service: each mistake has its message, and nothing is left behind by it."""

import json
from pathlib import Path
from typing import Any

import pytest
from serving import GRPO, every, lived, living_stream, prepared, rows, serve
from streams import small_stream, write_stream

from envs.component import UserError
from schedules.checkpoint import let_change
from schedules.cli import main
from schedules.control import Control
from schedules.service import Service


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    return prepared(tmp_path / "run", migrated)


def test_what_may_change_is_said_and_what_may_not_is_refused(
    tiny_folder: Path, tmp_path: Path, migrated: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = prepared(tmp_path / "run", migrated)
    serve(living_stream(tiny_folder, triggers=[every(500)]), folder, lived(5))
    serve(living_stream(tiny_folder, ticks=4, triggers=[every(600)]), folder, lived(10))
    ((kept,),) = rows(folder, "SELECT value FROM loop_facts WHERE name = 'stream'")
    assert json.loads(kept)["service"]["ticks"] == 4
    with pytest.raises(UserError) as caught:
        serve(living_stream(tiny_folder, worlds=9), folder, lived(10))
    assert str(caught.value) == (
        "stream has changed since this run began:\n  service.worlds: was 8, is 9\n"
        "Resume with what it began with, or start a new run in another --dir. "
        "These may change: about, service.triggers, service.ticks, tracking."
    )
    other = living_stream(tiny_folder).with_(stream="other")
    with pytest.raises(UserError, match="stream: was 'small', is 'other'"):
        serve(other, folder, lived(10))
    path = write_stream(tmp_path / "small.yaml", json.loads(living_stream(tiny_folder).model_dump_json()))
    assert main(["run", str(path), "--dir", str(folder), "--resume"]) == 2
    assert "command has changed since this run began:\n  value: was 'serve', is 'run'" in capsys.readouterr().err


def test_changes_that_may_are_told(tiny_folder: Path) -> None:
    old, new = ({"stream": living_stream(tiny_folder, ticks=n).model_dump(mode="json")} for n in (1, 4))
    told, known = let_change(old, new)
    assert told == ["Changed since it began, which it may: service.ticks: was 1, is 4."]
    assert known == new
    assert old != new


def test_two_services_cannot_have_one_folder(tiny_folder: Path, folder: Path) -> None:
    stream = living_stream(tiny_folder)
    seen: list[str] = []

    def second(service: Service) -> bool:
        if service.loop.life is not None and not seen:
            with pytest.raises(UserError) as caught:
                serve(stream, folder, lived(1))
            seen.append(str(caught.value))
        return bool(seen)

    serve(stream, folder, second)
    assert seen[0].startswith(f"{folder / 'run.db'} is in use by another run (pid ")
    assert seen[0].endswith("). Stop it, or use another --dir.")


def test_a_control_file_that_is_none(folder: Path) -> None:
    (folder / "control.db").write_text("what is this" * 1000)
    with pytest.raises(UserError, match="Stop the service, delete this file, and serve again"):
        Control(folder)


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"life": [{"regimes": {"gone": 1}}]}, "service.life[0].regimes has 'gone': there are: copycat, renamed."),
        ({"life": [{"regimes": {}}]}, "service.life.0.regimes: Dictionary should have at least 1 item"),
        (
            {"life": [{"regimes": {"renamed": 1}}, {"regimes": {"copycat": 1}}]},
            "service.life[1].regimes has 'copycat', whose world is gone once 'renamed' begins. "
            "Leave it out there, or let nothing replace it.",
        ),
        (
            {"triggers": [every(5), every(6)]},
            "service: triggers[1] is called 'episodes' like one before it. Give it a name.",
        ),
        (
            {"triggers": [every(5, "gone")]},
            "service.triggers[0].task is 'gone': there are: copycat, renamed. Or write 'alarmed'.",
        ),
        (
            {"triggers": [{"when": {"type": "success", "task": "gone", "below": 0.5}, "update": GRPO}]},
            "service.triggers[0].when.task is 'gone': there are: copycat, renamed.",
        ),
        (
            {"triggers": [{"when": {"type": "cron", "line": "nightly"}, "update": GRPO}]},
            "service.triggers.0.when.line is 'nightly': no cron line (Wrong number of fields; got 1, expected 5): "
            "write minute, hour, day, month and weekday, for example '0 3 * * mon-fri'.",
        ),
        (
            {"triggers": [{"when": {"type": "crn"}, "update": GRPO}]},
            "service.triggers.0.when: no trigger 'crn'. Did you mean 'cron'?",
        ),
        (
            {"triggers": [{"when": {"type": "drift"}, "update": {"type": "grop"}}]},
            "service.triggers.0.update: no update 'grop'. Did you mean 'grpo'?",
        ),
    ],
)
def test_mistakes_in_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture, service: dict[str, Any], message: str
) -> None:
    """Each in one line that says where, what, why and what to do."""
    told = small_stream(Path("tiny"), service=service)
    told["regimes"]["renamed"]["replaces"] = "copycat"
    assert main(["serve", str(write_stream(tmp_path / "small.yaml", told)), "--dir", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
