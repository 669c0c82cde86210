"""The watch: what an alarm says, that it stays quiet for a while, begins anew at a promotion, and can be replayed."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.component import UserError
from schedules import watch as watching
from schedules.config import load_stream
from schedules.lived import Lived, pack_centre, unpack_centre
from schedules.watch import LATE, SHOWN, Alarm, DriftSettings, Watch, step_of
from tests.schedules.streams import small_stream, write_stream

NEVER = {"type": "never"}
QUIET = {"reward": NEVER, "observation": NEVER, "mix": {"on": False}}


def settings(**changes: object) -> DriftSettings:
    """Of a watch that sees nothing but what `changes` let it see."""
    return DriftSettings.model_validate({**QUIET, **changes})


def life(seed: int, before: int, after: int, task: str = "goto", first: int = 1) -> list[Lived]:
    """Success 0.9 -> 0.4, novelty 0.01 -> 0.05, and a centre that moves, all at once."""
    rng = np.random.default_rng(seed)
    return [
        Lived(
            number=first + i,
            episode=f"{task}/{first + i}",
            task=task,
            reward=float(rng.random() < (0.9 if i < before else 0.4)),
            novelty=(0.01 if i < before else 0.05) * float(rng.uniform(0.8, 1.2)),
            centre=unpack_centre(pack_centre(rng.normal(0 if i < before else 1, 1, 16))),
        )
        for i in range(before + after)
    ]


def raised(watch: Watch, lived: Sequence[Lived]) -> list[tuple[int, Alarm]]:
    """Each alarm with the number of the episode after which it was raised."""
    return [(one.number, alarm) for one in lived for alarm in watch.see(one)]


def test_where_a_series_splits_by_hand() -> None:
    """1 1 1 0 0: between the third and the fourth. Of one number nothing can be told apart."""
    series = [(10, 1.0), (12, 1.0), (14, 1.0), (16, 0.0), (18, 0.0)]
    assert step_of(series, up=False) == (1.0, 0.0, 16)
    assert step_of(series[:1], up=False) == (1.0, 1.0, 10)
    assert step_of([(1, 0.0), (2, 1.0), (3, 1.0), (4, 1.0)], up=True) == (0.0, 1.0, 2)


def test_a_step_the_other_way_is_not_told() -> None:
    """0 0 0 1 1 0: the rise to 2/3 fits best, and a fall is what is asked for: from 2/5 to 0."""
    series = [(n, x) for n, x in enumerate([0.0, 0.0, 0.0, 1.0, 1.0, 0.0], 1)]
    assert step_of(series, up=True) == (0.0, pytest.approx(2 / 3), 4)
    assert step_of(series, up=False) == (0.4, 0.0, 6)


def test_success_that_fell() -> None:
    [(at, alarm)] = raised(Watch(settings(reward={"type": "adwin"})), life(0, 300, 100))
    assert (alarm.kind, alarm.task, alarm.episode) == ("reward", "goto", at)
    assert 300 < at < 350
    assert 0.3 < alarm.size < 0.8
    told = re.fullmatch(r"success in goto went from (0\.\d\d) to (0\.\d\d) about episode (\d+)", alarm.sentence)
    assert told
    before, after, since = map(float, told.groups())
    assert abs(before - 0.9) < 0.05
    assert before - after == pytest.approx(alarm.size, abs=0.01)
    assert abs(since - 301) < 15


def test_success_that_rose_is_no_alarm() -> None:
    better = [replace(one, reward=1 - one.reward) for one in life(0, 300, 300)]
    assert not raised(Watch(settings(reward={"type": "adwin"})), better)


def test_what_is_new_and_which_episodes_are_the_newest() -> None:
    lived = life(0, 300, 100)
    [(at, alarm)] = raised(Watch(settings(observation={"type": "novelty"})), lived)
    assert alarm.kind == "novelty"
    assert 300 < at <= 310
    assert 3 < alarm.size < 7
    assert "since about episode 301 (0.0" in alarm.sentence
    seen = [one for one in lived[at - LATE : at] if one.novelty is not None]
    newest = sorted(seen, key=lambda one: -(one.novelty or 0))[:SHOWN]
    assert alarm.novel == tuple(one.episode for one in newest)


def test_a_second_alarm_tells_of_what_came_after_the_first() -> None:
    """Success 0.95, 0.5, 0.1 and novelty 0.01, 0.05, 0.25: a split of the whole series would be the first one again."""
    rng, levels = np.random.default_rng(0), np.repeat([0, 1, 2], [600, 300, 200])
    lived = [
        Lived(
            n, f"{n}", "goto", float(rng.random() < (0.95, 0.5, 0.1)[at]), 0.01 * 5.0**at * float(rng.uniform(0.8, 1.2))
        )
        for n, at in enumerate(levels.tolist(), 1)
    ]
    both = settings(reward={"type": "adwin"}, observation={"type": "novelty"}, cooldown=0)
    found = [alarm for _, alarm in raised(Watch(both), lived)]
    assert [alarm.kind for alarm in found] == ["novelty", "reward", "novelty", "reward"]
    for alarm in found[2:]:
        since = re.search(r"about episode (\d+)", alarm.sentence)
        assert since
        assert 890 < int(since[1]) < 920, alarm.sentence
    assert "went from 0.5" in found[3].sentence or "went from 0.4" in found[3].sentence
    assert found[2].size == pytest.approx(5, rel=0.2)


def test_another_mix() -> None:
    [(at, alarm)] = raised(Watch(settings(mix={"on": True})), life(0, 300, 100))
    assert alarm.kind == "mix"
    assert 300 < at <= 364
    assert alarm.size > 0.25


def test_nothing_moves_and_nothing_is_raised() -> None:
    for seed in range(5):
        assert not raised(Watch(DriftSettings()), life(seed, 1000, 0))


def test_records_without_observations_are_watched_by_success_alone() -> None:
    bare = [replace(one, novelty=None, centre=None) for one in life(0, 300, 100)]
    found = raised(Watch(DriftSettings()), bare)
    assert [alarm.kind for _, alarm in found] == ["reward"]
    assert found[0][1].novel == ()


def test_tasks_are_watched_apart() -> None:
    moving, still = life(0, 300, 60), life(1, 360, 0, task="cards")
    mingled = [
        replace(one, number=2 * i + k)
        for i, both in enumerate(zip(moving, still, strict=True))
        for k, one in enumerate(both, 1)
    ]
    found = raised(Watch(DriftSettings()), mingled)
    assert {alarm.task for _, alarm in found} == {"goto"}
    alone = raised(Watch(DriftSettings()), moving)
    assert [alarm.episode for _, alarm in found] == [2 * alarm.episode - 1 for _, alarm in alone]


def test_cool_down_by_hand() -> None:
    """An alarm every 4 episodes, 10 quiet ones after each: 4, then what fired last in 5..14 (12) is held to 15."""
    lived = life(0, 40, 0)
    every = {"type": "every", "episodes": 4}
    found = raised(Watch(settings(reward=every, cooldown=10)), lived)
    assert [(at, alarm.episode) for at, alarm in found] == [(4, 4), (15, 12), (26, 24), (37, 36)]
    at_once = raised(Watch(settings(reward=every, cooldown=0)), lived)
    assert [at for at, _ in at_once] == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]


def test_one_drift_is_told_once_and_nothing_of_it_is_lost() -> None:
    found = raised(Watch(DriftSettings(cooldown=100)), life(0, 300, 400))
    assert {alarm.kind for _, alarm in found} == {"reward", "novelty", "mix"}
    moments = sorted({at for at, _ in found})
    assert len(moments) == 2
    assert moments[1] == moments[0] + 101


def test_a_promotion_begins_anew() -> None:
    """What was held back is dropped too, and a new champion may be worse or better without an alarm."""
    watch, lived = Watch(DriftSettings()), life(0, 300, 400)
    assert raised(watch, lived[:320])
    watch.reset()
    assert not raised(watch, lived[320:])
    fresh = Watch(DriftSettings())
    raised(fresh, lived[:300])
    fresh.reset()
    assert not raised(fresh, lived[300:]), "the control without the reset is test_one_drift_is_told_once"


def test_replayed_records_bring_it_back() -> None:
    """At any moment: the records since the last reset, with centres as they are stored, and it goes on the same."""
    lived = [*life(3, 200, 60), *life(4, 150, 100, first=261)]
    whole = Watch(DriftSettings())
    raised(whole, lived[:40])
    whole.reset()
    expected = raised(whole, lived[40:])
    assert expected
    for cut in (41, 150, 206, 250, 300, 400):
        stored = [
            replace(one, centre=unpack_centre(pack_centre(one.centre)))
            for one in lived[40:cut]
            if one.centre is not None
        ]
        back = Watch(DriftSettings())
        before = raised(back, stored)
        assert before + raised(back, lived[cut:]) == expected


def test_settings_are_filled_and_mistakes_are_named(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "small.yaml", small_stream(Path("pilot")))
    drift = load_stream(str(path), ["drift.reward={type: page_hinkley}"]).drift
    assert drift.reward == {"type": "page_hinkley", "threshold": 15.0, "delta": 0.05}
    assert drift.observation["type"] == "novelty"
    for change, told in [
        ("drift.reward.type=adwinn", "drift.reward: no drift detector 'adwinn'. Did you mean 'adwin'?"),
        ("drift.reward={type: adwin, delta: 2}", "drift.reward.delta is 2: "),
        ("drift.observation={type: novelty, widow: 3}", "drift.observation.widow: no such setting."),
        ("drift.mix.window=0", "drift.mix.window is 0: "),
        ("drift.cooldown=-1", "drift.cooldown is -1: "),
        ("drift.cool=1", "drift.cool: no such setting. Did you mean 'cooldown'?"),
    ]:
        with pytest.raises(UserError) as error:
            load_stream(str(path), [change])
        assert told in str(error.value)


def test_a_stretch_begins_anew_whichever_number_it_begins_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of 4, an alarm each 3 episodes: 2 3 | 5 6 7. The world broke 1 and 4; on end, 5 would be the third."""
    lived = [one for one in life(0, 7, 0) if one.number not in (1, 4)]
    told = settings(reward={"type": "every", "episodes": 3}, cooldown=0)
    assert [at for at, _ in raised(Watch(told), lived)] == [5]
    monkeypatch.setattr(watching, "STRETCH", 4)
    assert [at for at, _ in raised(Watch(told), lived)] == [7]
