"""What is lived side by side is watched in the order it began in, however it ends."""

import re
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from schedules.drift_scores import drift_scores
from schedules.in_order import InOrder
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
    return [one for _, _, one in sorted(ends, key=lambda told: told[:2])]


def watched(ended: Sequence[Lived]) -> list[Lived]:
    """The order in which a life shows them to its watch, one ending after the other."""
    order, seen, numbers, first = InOrder(), list[Lived](), set[int](), 1
    for one in ended:
        numbers.add(one.number)
        while first in numbers:
            first += 1
        seen += [lived for _, lived in order.turn([("goto", one)], first)]
    return seen


def alarms(lived: Sequence[Lived]) -> list[Alarm]:
    watch = Watch(REWARD)
    return [alarm for one in lived for alarm in watch.see(one)]


def test_by_hand() -> None:
    """2 and 4 end before 1 and 3: nothing, nothing, then 1 and 2, then 3 and 4."""
    order, one = InOrder(), {n: ("goto", Lived(n, f"{n}", "goto", 1.0)) for n in (1, 2, 3, 4)}
    assert order.turn([one[2]], 1) == []
    assert order.turn([one[4]], 1) == []
    assert order.turn([one[1]], 3) == [one[1], one[2]]
    assert order.turn([one[3]], 5) == [one[3], one[4]]


def test_what_another_champion_lived_ahead_is_never_shown() -> None:
    """3 ended, then came a promotion: its number is passed over."""
    order, one = InOrder(), {n: ("goto", Lived(n, f"{n}", "goto", 1.0)) for n in (1, 2, 3)}
    order.turn([one[3]], 1)
    order.clear()
    assert order.turn([one[1], one[2]], 4) == [one[1], one[2]]


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
        told = re.search(r"about episode (\d+)", alarm.sentence)
        assert told
        assert abs(int(told[1]) - 501) <= 10, alarm.sentence
        assert drift_scores([alarm.episode], [501], 800, 100).found == 1
