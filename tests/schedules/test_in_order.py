"""What is lived side by side is watched in the order it began in, however it ends."""

import re
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from schedules.diary import Come
from schedules.drift_scores import drift_scores
from schedules.in_order import InOrder, Told, placed
from schedules.lived import Lived
from schedules.watch import Alarm, DriftSettings, Watch

WORLDS, FAILURE, SUCCESS = 32, 12, 4
"""Worlds side by side, and ticks that an episode takes: failures last longer."""
NEVER = {"type": "never"}
REWARD = DriftSettings.model_validate({"observation": NEVER, "mix": {"on": False}})


def coins(seed: int, *levels: tuple[float, int]) -> list[Lived]:
    """Episodes that succeed with these odds, so many each, from number 1 on."""
    rng = np.random.default_rng(seed)
    odds = np.concatenate([np.full(count, level) for level, count in levels])
    return [Lived(n, f"{n}", "goto", float(rng.random() < odd)) for n, odd in enumerate(odds, 1)]


def as_they_end(lived: Sequence[Lived]) -> list[Lived]:
    """Each world takes the next number once it is free."""
    free, ends = [0] * WORLDS, []
    for one in lived:
        end = heappop(free) + (SUCCESS if one.reward else FAILURE)
        heappush(free, end)
        ends.append((end, one.number, one))
    return [one for _, _, one in sorted(ends, key=lambda end: end[:2])]


def watched(ended: Sequence[Lived]) -> list[Lived]:
    """The order in which a life shows them to its watch, one ending after the other."""
    order, seen, come = InOrder(), list[Lived](), Come()
    for one in ended:
        come = after(come, one.number)
        seen += [lived for _, lived in order.turn([("goto", one)], come)]
    return seen


def after(come: Come, *numbers: int) -> Come:
    """After these episodes of goto more."""
    return placed(come.after(numbers, ["goto"] * len(numbers)), lambda _: "goto", {"goto": "goto"})


def alarms(lived: Sequence[Lived]) -> list[Alarm]:
    watch = Watch(REWARD)
    return [alarm for one in lived for alarm in watch.see(one)]


def told(number: int, regime: str = "goto") -> Told:
    return regime, Lived(number, f"{number}", regime, 1.0)


def test_by_hand() -> None:
    """2 and 4 end before 1 and 3: nothing, nothing, then 1 and 2, then 3 and 4."""
    order, come = InOrder(), Come()
    shown = []
    for number in (2, 4, 1, 3):
        come = after(come, number)
        shown.append(order.turn([told(number)], come))
    assert shown == [[], [], [told(1), told(2)], [told(3), told(4)]]


def test_what_another_champion_lived_ahead_is_never_shown() -> None:
    """3 ended, then came a promotion: its number is passed over."""
    order, come = InOrder(), after(Come(), 3)
    assert order.turn([told(3)], come) == []
    order.clear()
    assert order.turn([told(1), told(2)], after(come, 1, 2)) == [told(1), told(2)]


def test_a_long_episode_holds_back_its_own_slot_alone() -> None:
    """1 goes on and on, in cards; goto is 2, 4, 5. cards/new is cards once its world has drifted: 3 waits for 1.

    5 and 3 end, then 2: 2 has its turn, and 5 waits for 4. Then 4: 4 and 5. Then 1: 1 and 3.
    """
    lived_in = {1: "cards", 2: "goto", 3: "cards/new", 4: "goto", 5: "goto"}
    slots = {"cards": "cards", "cards/new": "cards", "goto": "goto"}
    order, come = InOrder(), Come()
    shown = []
    for number in (5, 3, 2, 4, 1):
        come = placed(come.after([number], [lived_in[number]]), lived_in.__getitem__, slots)
        shown.append([one.number for _, one in order.turn([told(number, lived_in[number])], come)])
    assert shown == [[], [], [2], [4, 5], [1, 3]]


def test_all_is_shown_once_and_in_order() -> None:
    lived = coins(0, (0.5, 400))
    ended = as_they_end(lived)
    assert [one.number for one in ended] != [one.number for one in lived], "a control: they end in another order"
    assert watched(ended) == lived


def test_early_successes_are_no_fall() -> None:
    """Odds of 0.6 that never move. By the order of ends success begins near 1, and some of 20 lives raise an alarm."""
    lives = [as_they_end(coins(seed, (0.6, 600))) for seed in range(20)]
    assert not any(alarms(watched(ended)) for ended in lives)
    assert sum(bool(alarms(ended)) for ended in lives) >= 3, "a control: in the order of their ends"


def test_a_drift_is_told_where_it_was() -> None:
    """Success 0.9 -> 0.2 from 501 on; in the order of their ends it would be told some 30 episodes before."""
    for seed in range(5):
        ended = as_they_end(coins(seed, (0.9, 500), (0.2, 300)))
        [alarm] = alarms(watched(ended))
        about = re.search(r"about episode (\d+)", alarm.sentence)
        assert about
        assert abs(int(about[1]) - 501) <= 10, alarm.sentence
        assert drift_scores([alarm.episode], [501], 800, 100).found == 1
