"""A life shows its watch each episode once, in the order they began in: over stops, stretches and promotions.

Episodes take one answer or nine (`uneven`), so that at any moment some have ended before older ones.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_policy import FakePolicy
from serving import Clock, every, lived, living_stream, rows, serve

from schedules import life, loop, record, watch
from schedules.config import StreamSettings
from schedules.life import Life
from schedules.lived import Lived
from schedules.watch import Alarm, Watch

NOTHING = {"type": "tests.schedules.fake_update"}
DRIFT = {"reward": {"type": "every", "episodes": 7}, "observation": {"type": "never"}, "mix": {"on": False}}
TASKS = ("copycat", "renamed")
Shown = list[Lived]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """What each process showed its watch, what is shown once more included."""
    told: list[Shown] = []

    class Seeing(Watch):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            told.append([])

        def see(self, lived: Lived) -> list[Alarm]:
            told[-1].append(lived)
            return super().see(lived)

    monkeypatch.setattr(life, "Watch", Seeing)
    monkeypatch.setattr(loop, "Policy", FakePolicy)
    monkeypatch.setattr(record, "send", lambda *args: "MLflow is away.")
    return told


def stream(**service: Any) -> StreamSettings:
    told = living_stream(Path("none"), **service).model_dump(mode="json")
    for regime in told["regimes"].values():
        regime["world"]["id"] = "tests.schedules.uneven:Uneven-v0"
    told["drift"] = {**DRIFT, "cooldown": 0}
    told["memory"]["on"] = False
    return StreamSettings.model_validate(told)


def of(seen: Shown, task: str) -> list[int]:
    return [one.number for one in seen if one.task == task]


def alarms(folder: Path, task: str, last: int) -> list[str]:
    """Sentences and numbers of a task's alarms up to an episode."""
    told = [json.loads(alarm) for (alarm,) in rows(folder, "SELECT alarm FROM life_alarms ORDER BY number")]
    return [f"{a['episode']} {a['sentence']}" for a in told if a["task"] == task and a["episode"] <= last]


def come(folder: Path) -> dict[str, Any]:
    [(fact,)] = rows(folder, "SELECT value FROM life_facts WHERE name = 'come'")
    told: dict[str, Any] = json.loads(fact)
    return told


def stopped(
    told: StreamSettings, folder: Path, at: list[int], shown: list[Shown], kept: Callable[[int], bool]
) -> Shown:
    """Serve up to each of these totals; what was shown, without what was shown once more.

    Args:
        kept: whether an episode that was shown is to be shown once more after a stop.
    """
    whole: Shown = []
    held = 0
    for total in at:
        again = [one for one in whole if kept(one.number)]
        serve(told, folder, lived(total), Clock(step=1))
        seen = shown[-1]
        for task in TASKS:
            before = of(again, task)
            assert of(seen, task)[: len(before)] == before, "a restart shows what was shown, in its order"
        known = {one.number for one in again}
        whole += [one for one in seen if one.number not in known]
        held += len(come(folder)["ahead"])
    assert held or len(at) == 1, "a control: at some stop, some had ended before older ones"
    return whole


def require_order(whole: Shown, folder: Path, dropped: frozenset[int] = frozenset()) -> None:
    """Strictly rising in each task, and without gaps: the story knows all that was lived."""
    for task in TASKS:
        numbers = of(whole, task)
        lived_in = rows(folder, "SELECT number FROM story_lived WHERE task = ? ORDER BY number", task)
        assert numbers == [n for (n,) in lived_in if n <= numbers[-1] and n not in dropped]


def require_equal(one: Shown, other: Shown, folders: tuple[Path, Path]) -> None:
    """As far as both came."""
    for task in TASKS:
        count = min(len(of(one, task)), len(of(other, task)))
        last = of(one, task)[count - 1]
        assert of(one, task)[:count] == of(other, task)[:count]
        raised = [alarms(folder, task, last) for folder in folders]
        assert raised[0] == raised[1]
        assert len(raised[0]) >= 3


def test_a_life_that_was_stopped_is_watched_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[Shown]
) -> None:
    """Over three ends of a stretch of 60; what a stretch that ended held is not shown once more."""
    monkeypatch.setattr(watch, "STRETCH", 60)
    folders = tmp_path / "never", tmp_path / "often"

    def kept(number: int) -> bool:
        return number > (come(folders[1])["next"] - 1) // 60 * 60

    never = stopped(stream(), folders[0], [230], shown, kept)
    often = stopped(stream(), folders[1], [40, 75, 100, 130, 175, 230], shown, kept)
    for whole, folder in zip((never, often), folders, strict=True):
        require_order(whole, folder)
        assert rows(folder, "SELECT min(number) > 180, count(*) FROM life_lived WHERE number <= 240")[0][0]
    require_equal(never, often, folders)


def test_what_ended_before_a_promotion_is_never_shown_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[Shown]
) -> None:
    """One promotion, after 100 episodes or so; one life is stopped three times after it."""
    before, dropped, promotions = set[int](), set[int](), list[int]()
    promoted = Life.promoted

    def noting(self: Life) -> None:
        before.update(one.number for one in shown[-1])
        dropped.update({*self.come.ahead} - before)
        promotions.append(self.come.next)
        promoted(self)

    monkeypatch.setattr(Life, "promoted", noting)
    told = stream(triggers=[every(100, "copycat", update=NOTHING)])
    folders = tmp_path / "never", tmp_path / "often"
    never = stopped(told, folders[0], [190], shown, lambda number: number not in before)
    often = stopped(told, folders[1], [120, 150, 170, 190], shown, lambda number: number not in before)
    assert dropped, "a control: some had ended before older ones"
    assert len({*promotions}) == 1 < len(promotions), "one promotion in each life, at the same moment"
    for whole, folder in zip((never, often), folders, strict=True):
        require_order(whole, folder, frozenset(dropped))
    require_equal(never, often, folders)


def test_a_long_episode_of_another_task_holds_back_no_watch(tmp_path: Path, shown: list[Shown]) -> None:
    """An episode of renamed takes 1000 answers; long before the first has ended, copycat is watched on."""
    told = stream(life=[{"episodes": 10**6, "regimes": {"copycat": 30, "renamed": 1}}]).model_dump(mode="json")
    told["regimes"]["renamed"]["world"]["id"] = "envs.copycat:Copycat-v0"
    told["regimes"]["renamed"]["world"]["kwargs"]["length"] = 1000
    folder = tmp_path / "run"
    whole = stopped(StreamSettings.model_validate(told), folder, [100, 150], shown, lambda number: True)
    assert come(folder)["lived"] == {"copycat": come(folder)["lived"]["copycat"]}
    assert come(folder)["next"] < 60, "a control: the oldest under way is of renamed"
    assert len(whole) > 140
    assert of(whole, "copycat") == sorted(of(whole, "copycat"))
