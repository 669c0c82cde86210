"""A life's story: thinned by hand-counted rules, and drift where the phases say it is."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledgers import three_cycles
from serving import cycles_done, every, living_stream, prepared, rows, serve

from memory.database import Database
from memory.schema import LIVED
from schedules import story
from schedules.checkpoint import Ledger
from schedules.diary import Come, Diary
from schedules.lived import Lived
from schedules.record import stream_of_run
from schedules.rollback import roll_back
from schedules.story import Story, drift_points
from schedules.tracking import Tracker


def one(number: int) -> Lived:
    return Lived(number, f"e{number}", "goto", float(number % 2), 0.1)


def test_it_is_thinned_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 4: at 5 rows the odd ones go and only even ones come; at 5 even ones (to 10) those of 4 are left."""
    monkeypatch.setattr(story, "MOST", 4)
    with Database(tmp_path / "run.db") as database:
        for number in range(1, 6):
            Story(database).write([one(number)])
        kept = [number for (number,) in database.execute("SELECT number FROM story_lived ORDER BY number")]
        assert kept == [2, 4]
        Story(database).write([one(number) for number in range(6, 11)])
        kept = [number for (number,) in database.execute("SELECT number FROM story_lived ORDER BY number")]
        assert kept == [4, 8]


def test_drift_is_where_what_is_lived_in_changes_under_its_name(tiny_folder: Path) -> None:
    """`renamed` takes the place of `copycat` from episode 11 on; a third phase of the same changes nothing."""
    phases = [{"episodes": 10, "regimes": {name: 1}} for name in ("copycat", "renamed", "renamed")]
    stream = living_stream(tiny_folder, life=phases)
    assert drift_points(stream) == {}, "two regimes that are both there: nothing of either has changed"
    regimes = dict(stream.regimes)
    regimes["renamed"] = regimes["renamed"].model_copy(update={"replaces": "copycat"})
    assert drift_points(stream.model_copy(update={"regimes": regimes})) == {"copycat": [11]}


def test_a_promotion_stands_behind_every_episode_that_ended_before_it(tiny_folder: Path, tmp_path: Path) -> None:
    """8 episodes are lived and 10 is the newest of them: an alarm that 10 raised must not stand behind its answer."""
    with Database(tmp_path / "run.db") as database:
        Story(database).promoted(Come(7, (8, 10), {"goto": 8}))
        assert Story(database).told([], living_stream(tiny_folder)).promotions == [10]


@pytest.fixture
def after_three(tmp_path: Path) -> Path:
    """Three cycles as if they were of a life in which 5 episodes are lived, and 6 is the newest of them."""
    three_cycles(tmp_path)
    with Database(tmp_path / "run.db") as database:
        Ledger(database).replace_fact("command", "serve")
        Diary(database).write(Come(5, (6,), {"goto": 5}), [], [], datetime(2026, 3, 2, tzinfo=UTC))
    return tmp_path


def test_a_rollback_has_its_mark(after_three: Path) -> None:
    with Database(after_three / "run.db") as database:
        ledger = Ledger(database)
        roll_back(ledger, after_three, None)
        told = Story(database).told([], stream_of_run(ledger, after_three))
    assert (told.promotions, told.rollbacks) == ([], [6])


def test_a_rollback_and_its_mark_are_one_transaction(after_three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks behind both: neither is there."""
    rolled_back = Story.rolled_back

    def broken(self: Story, come: Come) -> None:
        rolled_back(self, come)
        raise OSError("disk full")

    monkeypatch.setattr(Story, "rolled_back", broken)
    with Database(after_three / "run.db") as database:
        ledger = Ledger(database)
        with pytest.raises(OSError, match="disk full"):
            roll_back(ledger, after_three, None)
        assert len(ledger.cycles()) == 4
        assert Story(database).told([], stream_of_run(ledger, after_three)).rollbacks == []


def test_a_life_tells_it_to_mlflow(tiny_folder: Path, tmp_path: Path, migrated: Path) -> None:
    """A promotion empties what the watch has seen, and the story goes on; its mark is an episode's number."""
    folder = prepared(tmp_path / "run", migrated)
    stream = living_stream(tiny_folder, triggers=[every(20)])
    service = serve(stream, folder, cycles_done(1))
    ids = service.loop.tracker.ids
    assert ids is not None
    assert "drift_timeline.png" in {item.path for item in Tracker(folder).client.list_artifacts(ids.timeline_run_id)}
    assert rows(folder, "SELECT count(*) FROM story_promotions") == [(1,)]
    assert service.loop.life is not None
    with Database(folder / "run.db") as database:
        told = Story(database).told(Diary(database).alarms(), stream)
    assert len(told.lived) == service.loop.life.come.total
    [(newest,)] = rows(folder, "SELECT max(member) FROM episodes WHERE grp = ? AND cycle <= 1", LIVED)
    assert told.promotions == [newest]
