"""What triggers and MLflow are told of success: in the order episodes began in, worked by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from serving import START

from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import ReplayMemory
from schedules import diary as diaries
from schedules.diary import Diary, since
from schedules.in_order import placed
from schedules.lived import Lived
from schedules.triggers import Status, build_trigger


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Diary]:
    with Database(tmp_path / "run.db") as opened:
        ReplayMemory(opened, HashEmbedder(8))  # judgements are its
        yield Diary(opened)


def end(diary: Diary, *ended: tuple[int, int]) -> None:
    """These episodes of goto end one after the other: number, and 1 for a success."""
    for number, reward in ended:
        with diary.database.transaction():
            come = placed(diary.come().after([number], ["goto"]), lambda _: "goto", {"goto": "goto"})
            diary.write(come, [("goto", Lived(number, f"{number}", "goto", float(reward)))], [], START)


def outcomes(diary: Diary, mark: Mapping[str, Any]) -> list[int]:
    return [int(one) for one in since(diary.database, mark)["outcomes"].get("goto", ())]


def test_outcomes_come_in_the_order_of_numbers(diary: Diary) -> None:
    """2 and 4 succeed and end first: nothing is told; then 1 fails: 0 1. Then 3 fails: 0 1 0 1."""
    mark = diary.mark()
    end(diary, (2, 1), (4, 1))
    assert outcomes(diary, mark) == []
    end(diary, (1, 0))
    assert outcomes(diary, mark) == [0, 1]
    end(diary, (3, 0))
    assert outcomes(diary, mark) == [0, 1, 0, 1]


def test_a_mark_parts_them_by_number_too(diary: Diary) -> None:
    """It is set while 3 is under way: 4, which has ended, is told with 3, after it; 1 and 2 are not told again."""
    end(diary, (1, 1), (4, 1), (2, 1))
    mark = diary.mark()
    assert outcomes(diary, mark) == []
    end(diary, (3, 0))
    assert outcomes(diary, mark) == [0, 1]
    end(diary, (6, 1))
    assert outcomes(diary, diary.mark()) == []


def test_what_ended_before_a_promotion_is_not_told_after_it(diary: Diary) -> None:
    """3 is gone with the champion that lived it; of the new one's, 4 waits for 2: 0 1, without a place for 3."""
    mark = diary.mark()
    end(diary, (1, 1), (3, 1))
    diary.promoted()
    end(diary, (4, 1))
    assert outcomes(diary, mark) == []
    end(diary, (2, 0))
    assert outcomes(diary, mark) == [0, 1]


def test_a_trigger_hears_of_the_last_that_began_not_of_the_last_that_ended(diary: Diary) -> None:
    """1 to 3 fail and take long, 4 to 6 succeed at once: 0 0 0 1 1 1. By their ends it would be due after the third.

    Then 7 to 9 fail; it is due once 7, the last of them to end, has ended.
    """
    trigger, mark = build_trigger({"type": "success", "task": "goto", "below": 0.5, "last": 3}), diary.mark()

    def due() -> str | None:
        return trigger.due(Status(START, START, START, **since(diary.database, mark)))

    end(diary, (4, 1), (5, 1), (6, 1))
    assert since(diary.database, mark)["episodes"] == {"goto": 3}, "a control: they were lived"
    assert due() is None
    end(diary, (1, 0), (2, 0), (3, 0))
    assert outcomes(diary, mark) == [0, 0, 0, 1, 1, 1]
    assert due() is None
    end(diary, (8, 0), (9, 0))
    assert due() is None
    end(diary, (7, 0))
    assert due() == "success: goto 0.00 over its last 3 lived episodes, below 0.5"


def test_no_fall_is_drawn_where_short_successes_ended_first(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late is 2. 3 and 4 succeed and end before 1 and 2, which fail: 0 - 1. By their ends it would be 1 - 0."""
    monkeypatch.setattr(diaries, "LATE", 2)
    end(diary, (3, 1), (4, 1))
    assert diary.fallen() == {}
    end(diary, (1, 0), (2, 0))
    assert diary.fallen() == {"goto": -1.0}
    end(diary, (6, 0), (7, 0))
    assert diary.fallen() == {"goto": -1.0}, "6 and 7 wait for 5"
    end(diary, (5, 1))
    assert diary.fallen() == {"goto": pytest.approx(3 / 5)}


def test_a_mark_of_an_older_file_counts_from_the_promotion(diary: Diary) -> None:
    end(diary, (1, 0), (2, 1))
    assert outcomes(diary, {"lived": {}, "place": 1, "alarm": 0, "judgement": 0}) == [0, 1]


def test_a_long_episode_of_another_regime_holds_nothing_back(diary: Diary) -> None:
    """1 goes on in cards; 2 and 3 of goto have ended: 1 0. The mark after them parts goto at 4, cards at 1."""
    mark, lived_in = diary.mark(), {1: "cards", 2: "goto", 3: "goto", 4: "goto"}

    def ended(number: int, reward: float) -> None:
        regime = lived_in[number]
        come = diary.come().after([number], [regime])
        placed_come = placed(come, lived_in.__getitem__, {"cards": "cards", "goto": "goto"})
        with diary.database.transaction():
            diary.write(placed_come, [(regime, Lived(number, f"{number}", regime, reward))], [], START)

    ended(3, 0.0)
    ended(2, 1.0)
    assert outcomes(diary, mark) == [1, 0]
    later = diary.mark()
    ended(1, 1.0)
    ended(4, 1.0)
    assert since(diary.database, later)["outcomes"] == {"cards": (True,), "goto": (True,)}
