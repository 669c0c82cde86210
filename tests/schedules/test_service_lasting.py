"""What a service keeps over promotions, kills and restarts: what was seen, what is due, when room is made."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import GRPO, START, Clock, cycles_done, every, lived, living_stream, prepared, reports, rows, serve

from memory.database import Database
from memory.store import ReplayMemory
from schedules import diary, life
from schedules.checkpoint import Ledger
from schedules.config import StreamSettings
from schedules.control import Control, control_of
from schedules.progress import Silent
from schedules.rollback import roll_back
from schedules.service import Service
from schedules.tracking import Tracker
from schedules.watch import Alarm


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    return prepared(tmp_path / "run", migrated)


def prepared_beside(folder: Path) -> Path:
    """The folder of another run, with the MLflow database of one that is there."""
    return prepared(folder.parent / "another", folder / "mlflow.db")


def test_numbers_that_drift_is_seen_in_are_dropped_at_a_promotion(tiny_folder: Path, folder: Path) -> None:
    """The gate is off, so the first cycle is a promotion; the watch that a restart brings back is the one that was."""
    service = serve(living_stream(tiny_folder, triggers=[every(20)]), folder, cycles_done(1))
    assert service.loop.life is not None
    kept = rows(folder, "SELECT number, task, reward FROM life_lived ORDER BY place")
    assert len(kept) < service.loop.life.come.total
    record = json.loads(rows(folder, "SELECT record FROM loop_outbox WHERE cycle = 1")[0][0])
    drift = record["drift"]
    assert drift["alarms"] == 0
    assert drift["lived"] >= 20
    assert set(drift["statistic"]) == {"copycat", "renamed"}


def test_alarms_about_a_champion_that_is_gone_make_nothing_due(tiny_folder: Path, folder: Path) -> None:
    """An alarm every 4 episodes, also while the candidate learns: one cycle is due, until the new champion alarms.

    A rollback is such a change, too. The control is a refusal: the champion is the same, its alarms hold.
    """
    drift = {"reward": {"type": "every", "episodes": 4}, "observation": {"type": "never"}, "cooldown": 0}
    when = {"when": {"type": "drift"}, "task": "renamed", "update": GRPO}
    told = living_stream(tiny_folder, ticks=4, triggers=[when]).model_dump(mode="json")
    told["drift"] = {**drift, "mix": {"on": False}}
    queue = "SELECT state FROM loop_queue ORDER BY id"
    heard = "SELECT max(number), (SELECT json_extract(mark, '$.alarm') FROM loop_triggers) FROM life_alarms"

    def looked_after_it(service: Service) -> bool:
        return service.loop.next_cycle > 1 and service.loop.due is None

    def served(folder: Path, gate: dict[str, Any]) -> None:
        serve(StreamSettings.model_validate({**told, "gate": gate}), folder, looked_after_it, Clock(step=1))

    served(folder, {"on": False})
    assert rows(folder, queue) == [("done",)]
    ((last, answered),) = rows(folder, heard)
    assert last > answered, "the champion before raised some more while the candidate learned"
    with Database(folder / "run.db") as database:
        kept = diary.Diary(database)
        before, fell = kept.mark(), Alarm(9, "renamed", "reward", 0.5, "it fell", ())
        kept.write(kept.come(), [], [("renamed", fell)], START)
        assert diary.since(database, before)["alarms"] == (("renamed", "it fell"),)
        roll_back(Ledger(database), folder, None)
        assert diary.since(database, before)["alarms"] == ()
    refusing = prepared_beside(folder)
    served(refusing, {"min_gain": 0.99, "min_exam": 8, "reload": "same", "patience": None})
    assert rows(refusing, queue) == [("done",), ("due",)]


def test_a_pause_that_was_not_said_before_a_kill_is_said_when_it_is_served_again(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two refusals are to pause it; it dies with the second one committed. Once resumed, it isn't paused again."""
    told = living_stream(tiny_folder, triggers=[every(10, update={**GRPO, "rounds": 1})]).model_dump(mode="json")
    gate = {"min_gain": 0.99, "min_exam": 8, "reload": "same", "patience": 1}
    stream = StreamSettings.model_validate({**told, "gate": gate})

    def paused(service: Service) -> bool:
        return bool(service.control.paused) or service.loop.next_cycle > 3

    with monkeypatch.context() as patch:
        patch.setattr(Control, "pause", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            serve(stream, folder, paused, Clock(step=1))
    assert len(reports(folder)) == 2
    serve(stream, folder, paused, Clock(step=1))
    assert len(reports(folder)) == 2
    with control_of(folder) as control:
        assert control.paused.startswith("the stream is paused after cycle 2: 2 candidates of renamed were refused")
        control.resume()
    serve(stream, folder, paused, Clock(step=1))
    assert len(reports(folder)) == 3


def test_two_cycles_that_are_asked_for_before_it_hears_are_both_due(tiny_folder: Path, folder: Path) -> None:
    stream = living_stream(tiny_folder, triggers=[every(10_000)])
    with control_of(folder) as control:
        control.say("cycle", "renamed", START)
        control.say("cycle", "copycat", START + timedelta(seconds=1))
    serve(stream, folder, lambda service: service.loop.life is not None)
    assert rows(folder, "SELECT task, due_at FROM loop_queue ORDER BY id") == [
        ("renamed", START.isoformat()), ("copycat", (START + timedelta(seconds=1)).isoformat()),
    ]  # fmt: skip


def test_when_room_is_made_does_not_depend_on_restarts(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is made each 40 episodes, and it is stopped every 15 or so: what was lived before a stop counts, too."""
    made: list[int] = []
    settle = ReplayMemory.settle

    def settled(self: ReplayMemory, rng: np.random.Generator) -> Any:
        made.extend(told["lived"].values() if (told := diary.Diary(self._database).fact("come")) else [])
        return settle(self, rng)

    monkeypatch.setattr(life, "ROOM_EVERY", 40)
    monkeypatch.setattr(ReplayMemory, "settle", settled)
    phases = [{"episodes": 1000, "regimes": {"copycat": 1}}]
    for total in range(15, 106, 15):
        serve(living_stream(tiny_folder, life=phases), folder, lived(total))
    assert len(made) == 2
    assert 40 <= made[0] < 60
    assert 40 <= made[1] - made[0] < 60


def test_cycles_go_on_while_mlflow_is_away_and_are_told_in_order_once_it_is_back(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away for three cycles and a restart; then the fourth finds it again, and each is told once, in order."""
    stream = living_stream(tiny_folder, triggers=[every(20, update={**GRPO, "rounds": 1})])
    record, told, said, clock = Tracker.record, list[int](), list[str](), Clock(step=1)

    def away(self: Tracker, cycle: Mapping[str, Any]) -> None:
        raise OSError("the server is away")

    def back(self: Tracker, cycle: Mapping[str, Any]) -> None:
        told.append(cycle["cycle"])
        record(self, cycle)

    monkeypatch.setattr(Silent, "done", lambda _, sentence: said.append(sentence))
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "record", away)
        for count in (2, 3):
            serve(stream, folder, cycles_done(count), clock)
    waiting = rows(folder, "SELECT cycle FROM loop_outbox WHERE sent = 0 ORDER BY cycle")
    assert [cycle for (cycle,) in waiting] == [0, 1, 2, 3]
    sentence = "MLflow did not take cycle 0 (the server is away); it is kept and sent again after the next cycle."
    assert said.count(sentence) == 5, "after each of four commits, and when it was served again"
    monkeypatch.setattr(Tracker, "record", back)
    serve(stream, folder, cycles_done(4), clock)
    assert told == [0, 1, 2, 3, 4]
    assert rows(folder, "SELECT count(*) FROM loop_outbox WHERE sent = 0") == [(0,)]
