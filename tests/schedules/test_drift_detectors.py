"""Every module of schedules/drift keeps the contract, the controls are controls, and each formula is worked by hand."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from envs.component import UserError, names
from schedules.drift import Detector, build_detector

ALL = names("schedules.drift")
CONTROLS = {"never", "every"}
DETECTORS = sorted(set(ALL) - CONTROLS)
# What modules need beside their type; a new module without needs is tested the moment it exists.
NEEDS: dict[str, dict[str, object]] = {}


def built(name: str, **settings: object) -> Detector:
    return build_detector({"type": name, **NEEDS.get(name, {}), **settings})


def alarms(detector: Detector, series: np.ndarray) -> list[int]:
    """Places, from 1, at which there was an alarm."""
    return [place for place, x in enumerate(series.tolist(), 1) if detector.update(x)]


def noisy(seed: int, *parts: tuple[float, int]) -> np.ndarray:
    """Levels with noise of a tenth around them."""
    level = np.concatenate([np.full(count, value) for value, count in parts])
    return level + 0.1 * np.random.default_rng(seed).normal(size=len(level))


def coins(seed: int, *parts: tuple[float, int]) -> np.ndarray:
    odds = np.concatenate([np.full(count, value) for value, count in parts])
    return (np.random.default_rng(seed).random(len(odds)) < odds).astype(float)


def test_all_of_them_are_walked() -> None:
    assert {"adwin", "page_hinkley", "novelty", "never", "every"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_says_yes_or_no_and_the_same_each_time(name: str) -> None:
    series = coins(0, (0.3, 400), (0.7, 400), (0.3, 400))
    one, two = built(name), built(name)
    answers = [one.update(x) for x in series.tolist()]
    assert all(type(answer) is bool for answer in answers)
    assert answers == [two.update(x) for x in series.tolist()]


@pytest.mark.parametrize("name", ALL)
def test_after_a_reset_it_is_as_new(name: str) -> None:
    used = built(name)
    alarms(used, coins(1, (0.2, 333), (0.9, 111)))
    used.reset()
    series = coins(2, (0.3, 300), (0.8, 300))
    assert alarms(used, series) == alarms(built(name), series)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("seed", range(5))
def test_sees_a_rise_and_only_a_rise(name: str, seed: int) -> None:
    risen = alarms(built(name), noisy(seed, (0.3, 300), (0.7, 200)))
    assert risen, "0.3 -> 0.7 was missed"
    assert 300 < risen[0] <= 400
    assert not alarms(built(name), noisy(seed, (0.7, 300), (0.3, 200))), "a fall is no alarm"
    assert not alarms(built(name), noisy(seed, (0.3, 1000))), "nothing moved"
    assert not alarms(built(name), np.full(1000, 0.3)), "not even noise"


@pytest.mark.parametrize("name", DETECTORS)
def test_what_it_fired_at_is_usual_from_then_on(name: str) -> None:
    assert len(alarms(built(name), noisy(3, (0.3, 300), (0.7, 1000)))) == 1


@pytest.mark.parametrize("name", ["adwin", "page_hinkley"])
def test_the_level_of_the_series_says_nothing(name: str) -> None:
    """A watch gives -success: the same series as 1 - success, moved."""
    failed = coins(4, (0.3, 500), (0.5, 500))
    assert alarms(built(name), failed) == alarms(built(name), failed - 1) != []


def test_never() -> None:
    assert not alarms(built("never"), coins(0, (0.0, 500), (1.0, 500)))


def test_every_counts_episodes_and_looks_at_nothing() -> None:
    assert alarms(built("every", episodes=3), np.zeros(10)) == [3, 6, 9]
    assert alarms(built("every", episodes=1), np.ones(2)) == [1, 2]
    assert alarms(built("every"), coins(0, (0.1, 500))) == [200, 400]


def test_page_hinkley_against_its_formula() -> None:
    """m_n = sum of x_i - mean_i - delta, fading by 0.9999 as in river; an alarm once m_n - min m > threshold."""
    series = coins(5, (0.3, 400), (0.5, 400))
    means = np.cumsum(series) / np.arange(1, 801)
    total, least, expected = 0.0, np.inf, None
    for place, x in enumerate(series - means - 0.05, 1):
        total = 0.9999 * total + x
        least = min(least, total)
        if total - least > 15:
            expected = place
            break
    assert expected is not None
    assert alarms(built("page_hinkley"), series)[0] == expected


def test_adwin_against_its_bound() -> None:
    """Eight 0s and then 1s: no cut is sure until the bound of the paper lets one be; a stricter delta waits longer."""
    series = np.concatenate([np.zeros(200), np.ones(100)])
    firsts = [alarms(built("adwin", delta=delta), series)[0] for delta in (0.2, 0.1, 0.002, 1e-6)]
    assert all(a <= b for a, b in pairwise(firsts)), firsts
    assert firsts[0] < firsts[-1]
    assert firsts[0] > 204, "parts of fewer than five are not compared"


def test_novelty_by_hand() -> None:
    """Usual is e^0, e^2 less 0.001, so log(x + 0.001) has mean 1 and spread 1. Then e^3 adds 2 - 0.5 = 1.5 each time.

    Above 4.2 after three of them: 1.5, 3, 4.5. An e^100 adds no more than 4 - 0.5, and e^1 takes 0.5 off.
    """
    usual = [1 - 1e-3, np.e**2 - 1e-3] * 4
    three, one, huge = np.e**3 - 1e-3, np.e - 1e-3, np.e**100

    def fired(*more: float) -> list[int]:
        detector = built("novelty", reference=8, threshold=4.2)
        return [place - 8 for place in alarms(detector, np.array([*usual, *more]))]

    assert fired(three, three, three) == [3]
    assert fired(three, one, three, three) == []
    assert fired(three, one, three, three, three) == [5]
    assert fired(three, one, three, one, one, one, three, three) == []
    assert fired(huge) == []
    assert fired(huge, three) == [2]


def test_novelty_of_what_is_known_exactly() -> None:
    """Memory answers 0 for all: a thousandth is no news, a hundredth is."""
    known = np.zeros(200)
    assert not alarms(built("novelty"), np.concatenate([known, np.full(100, 1e-5)]))
    assert alarms(built("novelty"), np.concatenate([known, np.full(100, 1e-2)]))[0] == 204, "4 - 0.5 each: 14 after 4"


def test_bad_settings_are_named() -> None:
    with pytest.raises(UserError, match=r"no drift detector 'adwinn'\. Did you mean 'adwin'"):
        build_detector({"type": "adwinn"})
    with pytest.raises(ValidationError, match="delta"):
        built("adwin", delta=0)
    with pytest.raises(ValidationError, match="episodes"):
        built("every", episodes=0)
