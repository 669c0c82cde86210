"""The centroid test: its score by hand and against normal numbers; what it sees, and how seldom it errs."""

import numpy as np
import pytest

from schedules.mix import Mix, MixSettings, usual_of


def clusters(rng: np.random.Generator, odds: list[float], count: int) -> np.ndarray:
    """Episodes of a few kinds that are each known, drawn with these odds: float32 [count, 32]."""
    kinds = np.random.default_rng(7).normal(size=(len(odds), 32))
    drawn = rng.choice(len(odds), count, p=odds)
    return (kinds[drawn] + 0.3 * rng.normal(size=(count, 32))).astype(np.float32)


def alarms(mix: Mix, centres: np.ndarray) -> list[int]:
    return [place for place, centre in enumerate(centres, 1) if mix.update(centre)]


def test_usual_by_hand() -> None:
    """Two dimensions that always move together, once by 1 and once by 10: in their spreads they are the same number.

    Then R is all ones: tr(R) = 2, tr(R^2) = 4, and there is 1 degree of freedom; 64 episodes see 63^2 / (62 * 65) *
    (4 - 4 / 63) = 3.877 of the 4, and take it for 4 / 3.877 = 1.032.
    """
    line = np.array([-1, 1] * 32, np.float32)
    usual = usual_of(np.stack([line, 10 * line + 5], axis=1))
    np.testing.assert_allclose(usual.mean, [0, 5])
    np.testing.assert_allclose(usual.spread, np.array([1, 10]) * (64 / 63) ** 0.5)
    np.testing.assert_allclose(usual.total, 2)
    np.testing.assert_allclose(usual.freedom, 4 / (63**2 / (62 * 65) * (4 - 4 / 63)))


def test_score_by_hand() -> None:
    """With 2/9 degrees of freedom the width is 1: a square as expected scores cbrt(1) - (1 - 1) = 1, eight times it 2.

    Expected is tr(R) (1/count + 1/window) = 3 (1/64 + 1/64).
    """
    usual = usual_of(np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))
    usual = type(usual)(64, usual.mean, usual.spread, 3.0, 2 / 9)
    np.testing.assert_allclose(usual.score(3 / 32, 64), 1)
    np.testing.assert_allclose(usual.score(8 * 3 / 32, 64), 2)


def test_independent_numbers_have_their_freedom() -> None:
    x = np.random.default_rng(0).normal(size=(128, 40)).astype(np.float32)
    assert 35 < usual_of(x).freedom <= 45
    assert usual_of(np.repeat(x[:, :1], 40, axis=1)).freedom < 1.1


@pytest.mark.parametrize("kinds", [1, 4])
def test_without_drift_the_score_is_standard_normal(kinds: int) -> None:
    """Of 300 pairs of windows; a test that forgot the two errors or the freedom would be off by more."""
    rng, scores = np.random.default_rng(1), []
    for _ in range(300):
        x = clusters(rng, [1 / kinds] * kinds, 192)
        usual = usual_of(x[:128])
        mean = np.mean([usual.scaled(centre) for centre in x[128:]], axis=0)
        scores.append(usual.score(float(np.square(mean).sum()), 64))
    assert abs(np.mean(scores)) < 0.3
    assert 0.75 < np.std(scores) < 1.35
    assert max(scores) < 4.5


def test_sees_another_mix_of_known_kinds() -> None:
    even, leaning = [0.25] * 4, [0.7, 0.1, 0.1, 0.1]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        found = alarms(Mix(MixSettings()), np.concatenate([clusters(rng, even, 400), clusters(rng, leaning, 150)]))
        assert found
        assert 400 < found[0] <= 500
        assert not alarms(Mix(MixSettings()), clusters(rng, even, 600))


def test_begins_anew_after_an_alarm_and_a_reset() -> None:
    rng = np.random.default_rng(0)
    was, now = clusters(rng, [1, 0], 300), clusters(rng, [0, 1], 400)
    mix = Mix(MixSettings())
    found = alarms(mix, np.concatenate([was, now]))
    assert len(found) == 1, "what it fired at is usual from then on"
    mix.reset()
    assert alarms(mix, np.concatenate([was, now])) == found == alarms(Mix(MixSettings()), np.concatenate([was, now]))


def test_what_never_moved_does_not_decide_alone() -> None:
    """A dimension that was constant, then off by a rounding of float16; and one that is constant for ever."""
    x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    x[:, 0], x[300:, 0], x[:, 1] = 0.5, 0.5 + 2**-12, 0
    assert not alarms(Mix(MixSettings()), x)
    assert not alarms(Mix(MixSettings()), np.ones((400, 8), np.float32))


def test_off_is_off() -> None:
    x = np.concatenate([np.zeros((200, 4)), np.ones((200, 4))]).astype(np.float32)
    assert alarms(Mix(MixSettings()), x)
    assert not alarms(Mix(MixSettings(on=False)), x)
