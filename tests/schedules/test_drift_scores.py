"""Scores against known drift points, worked by hand; the two controls have the scores they must have."""

import pytest

from schedules.drift_scores import DriftScores, drift_scores, together


def test_by_hand() -> None:
    """1000 episodes, drifts at 301 and 601, windows of 100: 301-400 and 601-700.

    300 is false (one before the drift), 310 finds the first (the 10th of the changed world), 390 repeats it, 401 is
    false (one too late), the second is missed, 701 is false. Quiet are 800 episodes: 3 false are 3.75 per 1000.
    """
    scores = drift_scores([701, 300, 310, 390, 401], [301, 601], episodes=1000, window=100)
    assert scores == DriftScores(drifts=2, delays=(10,), repeats=1, false_alarms=3, quiet=800)
    assert (scores.found, scores.missed, scores.delay_median, scores.false_per_1000) == (1, 1, 10, 3.75)


def test_a_window_ends_at_the_next_drift_and_with_the_life() -> None:
    """Drifts at 11 and 16, windows of 10: 11-15 and 16-20, for only 20 were lived. 16 finds the second only."""
    assert drift_scores([16], [11, 16], episodes=20, window=10) == DriftScores(2, (1,), 0, 0, 10)
    assert drift_scores([15, 20], [11, 16], episodes=20, window=10) == DriftScores(2, (5, 5), 0, 0, 10)


def test_the_controls() -> None:
    never = drift_scores([], [501], 1000, 500)
    assert (never.found, never.missed, never.delay_median, never.false_per_1000) == (0, 1, None, 0)
    every = drift_scores(range(200, 1001, 200), [501], 1000, 500)
    assert (every.delays, every.repeats, every.false_alarms, every.false_per_1000) == ((100,), 2, 2, 4)


def test_an_empty_mean_is_none() -> None:
    assert drift_scores([5], [1], 10, 10).false_per_1000 is None, "no episode lies in no window"
    assert together([]) == DriftScores(0, (), 0, 0, 0)


def test_lives_together() -> None:
    lives = [drift_scores([60], [51], 100, 50), drift_scores([10, 53], [51], 100, 50), drift_scores([], [], 100, 50)]
    both = together(lives)
    assert both == DriftScores(drifts=2, delays=(10, 3), repeats=0, false_alarms=1, quiet=200)
    assert (both.delay_median, both.false_per_1000) == (6.5, 5)


@pytest.mark.parametrize(
    ("alarms", "drifts", "window", "told"),
    [([0], [], 5, "numbers of episodes"), ([11], [], 5, "1..10"), ([], [3, 3], 5, "ascending"), ([], [1], 0, "window")],
)
def test_what_makes_no_sense_is_refused(alarms: list[int], drifts: list[int], window: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        drift_scores(alarms, drifts, 10, window)
