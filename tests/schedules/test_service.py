"""A life and its cycles, with the tiny model: what is lived, what is learned meanwhile, stopping and going on."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from serving import GRPO, Clock, cycles_done, every, living_stream, prepared, reports, rows, serve
from streams import small_stream, write_stream

from agent.aside import Aside
from schedules import cycle
from schedules.cli import main
from schedules.control import behind, control_of
from schedules.exam import FIRST_EXAM_SEED
from schedules.progress import Silent
from schedules.service import Service

IMAGES = {"type": "dpo", "rounds": 2, "groups": 4, "group_size": 4, "image_weight": 1.0, "wrong_image": "retrieved"}
BOTH = [{**GRPO, "rounds": 1}, IMAGES]


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    return prepared(tmp_path / "run", migrated)


def test_life_goes_through_its_phases_and_a_replaced_world_is_gone(tiny_folder: Path, folder: Path) -> None:
    """24 episodes of one world, then the other takes its place; the cycle due after 40 finds it in its column.

    What is lived is remembered once each under its number, by seeds that no exam uses; the alarm clock of the life is
    the number of episodes alone, so the first 24 are `copycat` exactly.
    """
    told = small_stream(tiny_folder)["regimes"]
    phases = [{"episodes": 24, "regimes": {"copycat": 1}}, {"episodes": 10, "regimes": {"renamed": 1}}]
    stream = living_stream(tiny_folder, life=phases, triggers=[every(40, "copycat")])
    stream = type(stream).model_validate(
        {**stream.model_dump(mode="json"), "regimes": {**told, "renamed": {**told["renamed"], "replaces": "copycat"}}}
    )
    serve(stream, folder, cycles_done(1))
    life = rows(folder, "SELECT id, task, seed, member, cycle FROM episodes WHERE grp = 'life' ORDER BY member")
    assert [number for *_, number, _ in life] == [*range(1, len(life) + 1)]
    assert {name: task for name, task, *_ in life} == {
        f"0/small/life/{n}": "copycat" if n <= 24 else "renamed" for n in range(1, len(life) + 1)
    }
    assert max(seed for _, _, seed, *_ in life) < FIRST_EXAM_SEED
    assert len({seed for _, _, seed, *_ in life}) == len(life)
    assert {c for *_, c in life} == {1}
    (report,) = reports(folder)
    assert report["task"] == "renamed", "its trigger names the world that is gone: what took its place is trained"
    assert report["reason"].startswith("episodes: 4")
    regimes = json.loads((folder / "report.json").read_text())["regimes"]
    assert [(r["name"], r["added_at"], r["replaced_at"]) for r in regimes] == [("copycat", 0, 1), ("renamed", 1, None)]
    scores = json.loads((folder / "report.json").read_text())["scores"]
    assert [[score is None for score in row] for row in scores] == [[False, True], [True, False]]


def learned(model: Path, folder: Path, ticks: int) -> tuple[dict[str, Any], bytes, int]:
    """The report, the adapter and how much was lived of a service that ran a cycle with pictures."""
    told = small_stream(model)
    for regime in told["regimes"].values():
        regime["world"] = {**regime["world"], "kwargs": {"words": ["red", "green"], "mode": "both", "length": 2}}
    stream = living_stream(model, ticks=ticks, triggers=[every(20, update=BOTH)])
    stream = type(stream).model_validate({**stream.model_dump(mode="json"), "regimes": told["regimes"]})
    service = serve(stream, folder, cycles_done(1))
    assert service.loop.life is not None
    adapter = (folder / "adapters" / "cycle-001" / "adapter_model.safetensors").read_bytes()
    (report,) = reports(folder)
    return report, adapter, service.loop.life.come.total


def test_learning_is_the_same_bit_for_bit_whatever_is_lived_meanwhile(
    tiny_folder: Path, tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rollouts, rehearsal, RL, and DPO that looks for pictures in memory; its report counts operations, too.

    The control: where who acts aside shares its caches and counts, the report tells.
    """
    still = learned(tiny_folder, prepared(tmp_path / "still", migrated), 0)
    moving = learned(tiny_folder, prepared(tmp_path / "moving", migrated), 3)
    assert moving[2] > still[2] + 8, "nothing was lived meanwhile"
    assert moving[0] == still[0]
    assert moving[1] == still[1]
    monkeypatch.setattr(Aside, "_exchange", lambda self: None)
    monkeypatch.setattr("agent.lvlm.flops.Flops.back_to", lambda self, total: None)
    shared = learned(tiny_folder, prepared(tmp_path / "shared", migrated), 3)
    assert shared[0] != still[0]


def test_stopped_in_a_cycle_nothing_of_it_stays_and_it_is_run_again_once(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the second optimizer step; what was lived until then is remembered, also what was lived meanwhile."""
    stream = living_stream(tiny_folder, ticks=2, triggers=[every(20)])
    serve(stream, folder, lambda service: len(service.loop.curve) == 2)
    assert rows(folder, "SELECT cycle FROM loop_cycles") == [(0,)]
    assert rows(folder, "SELECT state, cycle FROM loop_queue") == [("due", None)]
    before = rows(folder, "SELECT id FROM episodes WHERE grp = 'life' ORDER BY id")
    assert len(before) > 20
    service = serve(stream, folder, lambda service: service.loop.next_cycle > 1 and service.stopping == "")
    assert service.loop.life is not None
    after = rows(folder, "SELECT id FROM episodes WHERE grp = 'life' ORDER BY id")
    assert {*before} <= {*after}
    assert len(after) == service.loop.life.come.total
    assert rows(folder, "SELECT state, cycle FROM loop_queue")[0] == ("done", 1)
    assert len(reports(folder)) == 1
    started = rows(folder, "SELECT count(*) FROM episodes WHERE cycle = 1 AND grp <> 'life'")
    assert started == [(2 * 16,)], "what the given-up cycle had played is gone"


def test_people_pause_ask_for_a_cycle_go_on_and_stop(
    tiny_folder: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """Said by the commands themselves, while another holds the run's file."""
    at = ["--dir", str(folder)]
    heard: list[str] = []

    def talk(service: Service) -> bool:
        life = service.loop.life
        if life is None:
            return False
        if not heard and life.come.total >= 10:
            heard.append("pause")
            assert main(["pause", *at]) == 0
            talk.paused_at = life.come.total  # type: ignore[attr-defined]
            talk.looks = 0  # type: ignore[attr-defined]
        elif heard == ["pause"]:
            talk.looks += 1  # type: ignore[attr-defined]
            if talk.looks == 4:  # type: ignore[attr-defined]
                assert life.come.total == talk.paused_at  # type: ignore[attr-defined]
                heard.append("cycle")
                assert main(["status", *at]) == main(["cycle", "now", "--task", "renamed", *at]) == 0
                assert main(["resume", *at]) == 0
        elif heard[-1:] == ["cycle"] and service.loop.next_cycle == 2:
            heard.append("stop")
            assert main(["stop", *at]) == 0
        return False

    service = serve(living_stream(tiny_folder, triggers=[every(10_000)]), folder, talk)
    assert service.stopping == "holdtrue stop"
    (report,) = reports(folder)
    assert (report["task"], report["reason"][:24]) == ("renamed", "asked for by a person at")
    out = " ".join(capsys.readouterr().out.split())
    assert f"is paused. What is due waits. Go on with: holdtrue resume --dir {folder}" in out
    assert "service paused (pid " in out
    assert "paused a person paused it." in out
    assert f"{folder} goes on." in out
    assert main(["status", *at]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "service stopped last tick" in told
    assert "due nothing cycle 1 renamed, asked for by a person" in told
    assert main(["stop", *at]) == 2
    assert "nobody serves" in capsys.readouterr().err
    assert main(["cycle", "--task", "renamd", *at]) == 2
    assert "--task renamd: there is no such regime. There are: copycat, renamed." in capsys.readouterr().err


def test_a_clock_that_jumps_back_is_said_and_nothing_is_due_twice(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour passes, one cycle is due; then the clock is two hours behind, and a good hour passes again: none is."""
    hourly = {"when": {"type": "interval", "hours": 1}, "task": "renamed", "update": {**GRPO, "rounds": 1}}
    clock = Clock()
    jumps = [3600, -7200, 3700]
    looks = Counter[str]()

    def until(service: Service) -> bool:
        if service.loop.life is not None and service.loop.due is None:
            looks["since"] += 1
            if jumps and looks["since"] > 10 and (len(jumps) == 3 or service.loop.next_cycle == 2):
                clock.now += timedelta(seconds=jumps.pop(0))
                looks["since"] = 0
        return not jumps and looks["since"] > 10

    said = list[str]()
    monkeypatch.setattr(Silent, "done", lambda _, sentence: said.append(sentence))
    serve(living_stream(tiny_folder, triggers=[hourly]), folder, until, clock)
    [back] = [sentence for sentence in said if sentence.startswith("The clock")]
    assert back == "The clock went back by 7200 s: what is due by the clock waits until it is there again."
    assert [reason for (reason,) in rows(folder, "SELECT reason FROM loop_queue")] == [
        "interval: 1:00:00 passed since 2026-03-02 12:00 UTC"
    ]
    with control_of(folder) as control:
        assert behind(control.last_beat()) == pytest.approx(3500)


def test_status_of_what_was_never_served(tiny_folder: Path, tmp_path: Path, migrated: Path, capsys: Any) -> None:
    folder = prepared(tmp_path / "run", migrated)
    path = write_stream(tmp_path / "small.yaml", small_stream(tiny_folder))
    assert main(["run", str(path), "--dir", str(folder)]) == 0
    capsys.readouterr()
    assert main(["status", "--dir", str(folder)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "service never served" in told
    assert "this run is led by its planned cycles: there is none" in told


def test_a_fault_of_ours_leaves_the_cycle_due(tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not swallowed; served again, the cycle is run."""
    stream = living_stream(tiny_folder, triggers=[every(10)])
    with monkeypatch.context() as patch:
        patch.setattr(cycle, "decide", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            serve(stream, folder, cycles_done(1))
    assert rows(folder, "SELECT state FROM loop_queue") == [("due",)]
    serve(stream, folder, cycles_done(1))
    assert len(reports(folder)) == 1
