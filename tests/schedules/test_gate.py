"""The gate on hand cases, and how often it errs on simulated exams of 100 seeds."""

from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from streams import small_stream

from envs.component import UserError
from schedules.commands.run import check_enough
from schedules.comparison import ExamResult, cost_rise, gain_lower_bound
from schedules.config import BUNDLED, StreamSettings, load_stream
from schedules.gate import GateSettings, Verdict, doomed, floor, judge, surely_gained
from schedules.loop import Loop
from schedules.metrics import ScoreMatrix
from schedules.timeline import timeline

SETTINGS = GateSettings()


def exam(task: str, right: int, seeds: int = 100) -> ExamResult:
    return ExamResult(task, tuple(range(seeds)), tuple(k < right for k in range(seeds)))


def verdict(
    before: dict[str, int],
    after: dict[str, int],
    best: dict[str, int] | None = None,
    settings: GateSettings = SETTINGS,
    kl_old: float | None = 0.01,
    readable: float = 1.0,
) -> Verdict:
    sides = [{task: exam(task, right) for task, right in side.items()} for side in (before, after, best or before)]
    return judge(settings, "exchanged", *sides, kl_old, readable)


def test_promotion_is_told_with_its_numbers() -> None:
    told = verdict({"goto": 98, "exchanged": 31}, {"goto": 96, "exchanged": 93})
    assert told == Verdict(
        True, "promoted: exchanged 0.31 -> 0.93 (+0.62, at least +0.54); worst old task goto -0.02 (allowed -0.10)"
    )


def test_no_gain_is_refused() -> None:
    told = verdict({"goto": 98, "exchanged": 50}, {"goto": 99, "exchanged": 53})
    assert told == Verdict(
        False,
        "refused: the gain on exchanged is not sure (its bound must be above +0.00) "
        "(exchanged 0.50 -> 0.53 (+0.03, at least +0.00); worst old task goto +0.01 (allowed -0.10))",
    )


def test_loss_on_an_old_task_is_refused() -> None:
    told = verdict({"goto": 98, "exchanged": 31}, {"goto": 78, "exchanged": 93})
    assert not told.accepted
    assert "goto fell to 0.78 where 0.88 is the least allowed (champion 0.98, best ever 0.98)" in told.sentence
    assert verdict({"goto": 98, "exchanged": 31}, {"goto": 88, "exchanged": 93}).accepted, "just allowed"


def test_small_losses_do_not_add_up() -> None:
    """0.98 -> 0.90 was allowed; the next 0.08 is measured against the best ever."""
    told = verdict({"goto": 90, "exchanged": 31}, {"goto": 82, "exchanged": 93}, best={"goto": 98, "exchanged": 31})
    assert not told.accepted
    assert "0.88 is the least allowed" in told.sentence


def test_a_champion_below_its_best_may_recover_in_steps() -> None:
    """Relearning 0.35 -> 0.60 of a once 0.90 skill is progress; falling further is not."""
    assert floor(SETTINGS, exam("b", 35), exam("b", 90)) == pytest.approx(0.35)
    assert verdict({"exchanged": 35}, {"exchanged": 60}, best={"exchanged": 90}).accepted
    assert not verdict({"b": 35, "exchanged": 30}, {"b": 34, "exchanged": 90}, {"b": 90, "exchanged": 30}).accepted


def test_behaviour_is_watched() -> None:
    good = ({"goto": 98, "exchanged": 31}, {"goto": 98, "exchanged": 93})
    assert "KL on old tasks is 0.700 nats (cap 0.500)" in verdict(*good, kl_old=0.7).sentence
    assert not verdict(*good, kl_old=float("nan")).accepted
    assert verdict(*good, kl_old=None).accepted
    assert "only 90.0% of its actions were readable (floor 95.0%)" in verdict(*good, readable=0.9).sentence


def costly(task: str, *costs: float, seeds: int = 100) -> ExamResult:
    """All right; the first seeds cost what is given, the rest nothing."""
    paid = (*costs, *[0.0] * (seeds - len(costs))) if costs else ()
    return ExamResult(task, tuple(range(seeds)), (True,) * seeds, paid)


def test_cost_must_not_surely_rise() -> None:
    """20 of 100 episodes come to cost 1: mean rise 0.2, deviation 0.402, bound 0.2 - 1.645 x 0.0402 = 0.134."""
    assert cost_rise(costly("a"), costly("a", *[1.0] * 20)) == (pytest.approx(0.2), pytest.approx(0.1339, abs=1e-4))

    def told(before: ExamResult, after: ExamResult, **settings: float) -> Verdict:
        new = exam("exchanged", 31), exam("exchanged", 93)
        sides = {"exchanged": new[0], "a": before}, {"exchanged": new[1], "a": after}
        limits = {"a": settings.pop("limit", 0.0)}
        return judge(GateSettings(**settings), "exchanged", *sides, {}, None, 1.0, cost_limits=limits)

    risen = costly("a"), costly("a", *[1.0] * 20)
    told_of = told(*risen)
    assert not told_of.accepted
    assert "an episode of a costs 0.20 where it cost 0.00 (+0.20, at least +0.13, allowed +0.00)" in told_of.sentence
    assert told(*risen, max_cost_rise=0.15).accepted, "not surely above what is allowed"
    assert told(*risen, limit=0.2).accepted, "the stream's own bound allows so much"
    assert not told(*risen, limit=0.1).accepted
    assert told(*reversed(risen)).accepted, "it fell"


def test_cost_by_chance_is_no_rise() -> None:
    """4 cost more, p = 1/16; 5 of 5, p = 1/32. Equal agents of cost 0.3 in 1000 exams: refused about 1 in 20."""
    assert cost_rise(costly("a"), costly("a", *[1.0] * 4))[1] == 0.0
    assert cost_rise(costly("a"), costly("a", *[1.0] * 5))[1] > 0.0
    rng = np.random.default_rng(0)

    def drawn() -> ExamResult:
        return costly("a", *rng.poisson(0.3, 100).astype(float))

    assert 0.01 < np.mean([cost_rise(drawn(), drawn())[1] > 0 for _ in range(1000)]) < 0.06


def test_a_smaller_alpha_asks_for_more() -> None:
    """15 won and 6 lost of 100: one-sided p = 0.0392."""
    before = ExamResult("a", tuple(range(100)), tuple(k < 6 for k in range(100)))
    after = ExamResult("a", tuple(range(100)), tuple(6 <= k < 21 for k in range(100)))
    assert surely_gained(SETTINGS, before, after)
    assert not surely_gained(SETTINGS, before, after, 0.025)
    assert gain_lower_bound(before, after, 0.025) <= 0 < gain_lower_bound(before, after)


@pytest.mark.parametrize("interpolate", [(0.5, 0.75), (0.5, 0.5), (1.0,), (0.0,)])
def test_shares_fall(interpolate: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="interpolate"):
        GateSettings(interpolate=interpolate)


def test_short_exam_carries_no_verdict() -> None:
    sides = [{"exchanged": exam("exchanged", right, 20)} for right in (2, 20)]
    told = judge(SETTINGS, "exchanged", *sides, {}, None, 1.0)
    assert not told.accepted
    assert "the exam of exchanged has 20 seeds where 100 are needed (gate.min_exam)" in told.sentence


def test_a_stream_whose_exam_is_too_short_is_not_begun() -> None:
    stream = load_stream("default", ["exam.episodes=64"])
    with pytest.raises(
        UserError, match=r"exam.episodes is 64 and gate.min_exam is 100: .* Set exam.episodes to 100 or"
    ):
        check_enough(stream)
    for fine in (["gate.min_exam=64"], ["gate.on=false"]):
        check_enough(load_stream("default", ["exam.episodes=64", *fine]))


@pytest.mark.parametrize("name", sorted(path.stem for path in BUNDLED.glob("*.yaml")))
def test_bundled_streams_can_be_judged(name: str) -> None:
    check_enough(load_stream(name))


def test_gate_off_keeps_everything_and_says_so() -> None:
    off = GateSettings(on=False)
    told = verdict({"goto": 98, "exchanged": 31}, {"goto": 20, "exchanged": 30}, settings=off)
    assert told.accepted
    assert told.sentence.startswith("gate off, kept: exchanged 0.31 -> 0.30")
    assert "a gate would have refused: the gain on exchanged is not sure" in told.sentence
    assert "would have promoted" in verdict({"exchanged": 31}, {"exchanged": 93}, settings=off).sentence


def test_all_faults_are_named() -> None:
    told = verdict({"a": 90, "b": 90, "exchanged": 50}, {"a": 10, "b": 20, "exchanged": 50}, kl_old=3.0, readable=0.1)
    assert all(word in told.sentence for word in ("not sure", "a fell to", "b fell to", "KL on old", "readable"))


def test_a_missing_exam_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="both exams of goto"):
        verdict({"goto": 98, "exchanged": 31}, {"exchanged": 93})
    with pytest.raises(ValueError, match="both exams of exchanged"):
        verdict({"goto": 98}, {"goto": 93})


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match="max_loss"):
        GateSettings(max_loss=1.5)
    with pytest.raises(ValidationError, match="maxloss"):
        GateSettings.model_validate({"maxloss": 0.1})


@pytest.mark.parametrize(
    ("trained", "old", "at_least", "at_most"),
    [
        pytest.param((0.6, 0.8), (0.95, 0.75), 0, 5, id="0.2 worse on one old task: refused 95 times or more"),
        pytest.param((0.6, 0.8), (0.95, 0.95), 85, 100, id="0.2 better, nothing lost: promoted 85 times or more"),
        pytest.param((0.6, 0.6), (0.95, 0.95), 0, 5, id="equal: promoted 5 times or less"),
    ],
)
def test_operating_characteristic(
    trained: tuple[float, float], old: tuple[float, float], at_least: int, at_most: int
) -> None:
    """1000 simulated exams, told per 100; three old tasks, one perhaps hurt, and a best ever over 4 rows."""
    rng = np.random.default_rng(0)

    def drawn(task: str, success: float) -> ExamResult:
        return ExamResult(task, tuple(range(100)), tuple(map(bool, rng.random(100) < success)))

    truth = {"new": trained, "hurt": old, "a": (0.95, 0.95), "b": (0.9, 0.9)}
    promoted = 0
    for _ in range(1000):
        rows = [{task: drawn(task, before) for task, (before, _) in truth.items()} for _ in range(4)]
        best = {task: max((row[task] for row in rows), key=lambda cell: cell.mean) for task in truth}
        candidate = {task: drawn(task, after) for task, (_, after) in truth.items()}
        promoted += judge(SETTINGS, "new", rows[-1], candidate, best, None, 1.0).accepted
    assert at_least <= promoted / 10 <= at_most, f"{promoted / 10:.0f} of 100"


def test_luck_in_a_world_nobody_has_learned_is_guarded_only_where_it_is_asked_for(tiny_folder):
    regimes = small_stream(tiny_folder)["regimes"]
    three = small_stream(tiny_folder, regimes={**regimes, "unlearned": regimes["renamed"]})
    scores = {"copycat": "known", "renamed": "trained now", "unlearned": "luck"}
    for guard, names in (("live", set(scores)), ("skills", {"copycat", "renamed"})):
        stream = StreamSettings.model_validate(three | {"gate": {"guard": guard}})
        loop = SimpleNamespace(stream=stream, matrix=ScoreMatrix.start(timeline(stream), {}))
        assert set(Loop.guarded(loop, scores, "renamed")) == names


def test_an_early_verdict_compares_on_the_seeds_that_both_sat() -> None:
    """Of 128 seeds the champion did 16, all among the first 64; there the candidate does 48: from 0.25 by +0.50."""
    seeds = tuple(range(128))
    champion = {
        "new": ExamResult("new", seeds, tuple(seed < 16 for seed in seeds)),
        "goto": ExamResult("goto", seeds, (True,) * 128),
    }
    so_far = {
        "new": ExamResult("new", seeds[:64], tuple(seed < 48 for seed in seeds[:64])),
        "goto": ExamResult("goto", seeds[:64], (False,) * 64),
    }
    told = doomed(GateSettings(), "new", champion, so_far, {})
    assert told.startswith("goto fell from 1.00 to 0.00 on 64 of 128 seeds")
    assert ", though new 0.25 -> 0.75 (+0.50, at least " in told
