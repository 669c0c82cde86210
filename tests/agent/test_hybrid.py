"""The hybrid: scores by hand, controls that do what they say, no round wasted, and stages in their order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from agent.lesson import Lesson, Round, Trial
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from agent.updates.hybrid import Config, Hybrid, Signals, arm_scores, own_part
from agent.updates.stages import merged
from envs.collect import WorldPool
from envs.types import Episode, StopReason
from tests.agent.learning import Plays, build, given, learner_in, paid, played, run

SIGNALS = Signals(spread=0.5, readable=0.8, pairs=1.0, agreement=0.75, success=0.3)


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return learner_in(tiny_folder)


@pytest.fixture(autouse=True)
def _fresh(policy: Policy) -> None:
    policy.discard()


def tried(*arms: tuple[str, float, float]) -> list[Trial]:
    return [Trial(f"hybrid/{arm}", gain, flops) for arm, gain, flops in arms]


# -- scores -----------------------------------------------------------------------------------------------------------


def test_signals_by_hand() -> None:
    """RL: 0.5 * 0.8; DPO: 1 * (2 * 0.75 - 1). Judges worse than a coin make no signal below 0."""
    assert SIGNALS.of_arm == pytest.approx({"rl": 0.4, "dpo": 0.5})
    assert replace(SIGNALS, agreement=0.2).of_arm["dpo"] == 0.0


def test_scores_without_experience_are_the_signals() -> None:
    assert arm_scores(SIGNALS, [], curiosity=0.2) == pytest.approx({"rl": 0.4, "dpo": 0.5})


def test_an_arm_that_was_not_tried_gets_a_bonus_and_no_experience_counts() -> None:
    """After two tries of RL: sqrt(log 3 / 3) = 0.605, sqrt(log 3 / 1) = 1.048, by curiosity 0.2."""
    scores = arm_scores(SIGNALS, tried(("rl", 0.4, 1e9), ("rl", 0.2, 1e9)), curiosity=0.2)
    assert scores == pytest.approx(
        {"rl": 0.4 + 0.2 * math.sqrt(math.log(3) / 3), "dpo": 0.5 + 0.2 * math.sqrt(math.log(3))}
    )


def test_experience_is_gain_per_operation_by_hand() -> None:
    """RL gained 0.6 in 3e9, DPO 0.1 in 2e9: rates 2e-10 and 0.5e-10, so 1.6 and 0.4 times the signals."""
    past = tried(("rl", 0.5, 1e9), ("dpo", 0.1, 2e9), ("rl", 0.1, 2e9))
    assert arm_scores(SIGNALS, past, curiosity=0.0) == pytest.approx({"rl": 0.4 * 1.6, "dpo": 0.5 * 0.4})


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ([("rl", 0.5, 1e9), ("dpo", -0.3, 1e9)], {"rl": 0.4 * 2, "dpo": 0.5 * 0.2}),  # what failed may do later
        ([("rl", -0.5, 1e9), ("dpo", -0.3, 1e9)], {"rl": 0.4, "dpo": 0.5}),  # both failed: nothing is known
        ([("rl", 0.5, 0.0), ("dpo", 0.1, 1e9)], {"rl": 0.4, "dpo": 0.5}),  # nothing was done: no rate
    ],
)
def test_experience_at_its_edges(past: list[tuple[str, float, float]], expected: dict[str, float]) -> None:
    assert arm_scores(SIGNALS, tried(*past), curiosity=0.0) == pytest.approx(expected)


def test_a_trial_within_stages_is_the_arm_s() -> None:
    assert own_part(Trial("sft -> hybrid/dpo", 0.1, 1.0)) == Trial("hybrid/dpo", 0.1, 1.0)
    assert own_part(Trial("hybrid/rl", 0.1, 1.0)) == Trial("hybrid/rl", 0.1, 1.0)
    assert own_part(Trial("grpo", 0.1, 1.0)) is None


# -- who chooses ------------------------------------------------------------------------------------------------------


def chosen(choose: str, past: Sequence[Trial] = (), signals: Signals = SIGNALS) -> str:
    return Config.model_validate({"choose": choose}).build().choice(signals, past)[0]


def test_controls_choose_what_they_say() -> None:
    assert [chosen(who) for who in ("rl", "dpo", "measured")] == ["rl", "dpo", "dpo"]
    assert chosen("measured", signals=replace(SIGNALS, spread=0.7)) == "rl"
    past = tried(*[("rl", 0.0, 1.0)] * 4)
    assert [chosen("alternate", past[:n]) for n in range(4)] == ["rl", "dpo", "rl", "dpo"]


def test_past_trials_change_the_choice_and_the_reason_is_told() -> None:
    past = tried(("rl", 0.5, 1e9), ("dpo", 0.1, 1e9))
    arm, scores, reason = Config(curiosity=0.0).build().choice(SIGNALS, past)
    assert arm == "rl"
    assert reason == (
        "rl (spread 0.50, readable 0.80, pairs a group 1.00, agreement 0.75, success 0.30, 2 earlier tries: "
        "rl 0.67, dpo 0.17)"
    )
    assert scores == pytest.approx({"rl": 0.4 * 2 * 5 / 6, "dpo": 0.5 * 2 / 6})
    assert Config(choose="dpo", curiosity=0.0).build().choice(SIGNALS, past)[2].startswith("dpo by choose: dpo (spread")


# -- in one piece -----------------------------------------------------------------------------------------------------


class Counts:
    """Plays, and counts the rounds."""

    def __init__(self, play: Callable[..., Round]) -> None:
        self.play, self.rounds = play, []  # type: tuple[Callable[..., Round], list[Round]]

    def __call__(self, groups: int, size: int, review: float = 0.0) -> Round:
        self.rounds.append(self.play(groups, size, review))
        return self.rounds[-1]


@pytest.mark.parametrize("arm", ["rl", "dpo"])
def test_the_measured_round_is_the_arm_s_first(arm: str, policy: Policy, pool: WorldPool) -> None:
    """3 rounds are asked for and 3 are played; what was learned is what the arm alone learns from the same rounds."""
    kind = {"rl": "grpo", "dpo": "dpo"}[arm]
    play = Counts(Plays(policy, pool))
    report = run(build("hybrid", rounds=3, groups=8, choose=arm), policy, play)
    assert len(play.rounds) == 3
    hybrid = policy.version
    policy.discard()
    alone = run(build(kind, rounds=3, groups=8), policy, Plays(policy, pool))
    assert policy.version == hybrid
    assert report.algorithm == f"hybrid/{arm}"
    assert report.samples_new == alone.samples_new
    assert {"score_rl", "score_dpo"} <= set(report.metrics)
    assert report.reason.startswith(f"{arm} by choose: {arm} (spread ")
    assert report.flops >= alone.flops, "the measured round is counted too"


def test_past_trials_reach_the_choice(policy: Policy, pool: WorldPool) -> None:
    """The same round, another past: what gained more per operation is taken."""
    first = played(policy, pool, 1, groups=8, size=8)
    for past, arm in (
        (tried(("rl", 0.9, 1e9), ("dpo", 0.0, 1e9)), "hybrid/rl"),
        (tried(("rl", 0.0, 1e9), ("dpo", 0.9, 1e9)), "hybrid/dpo"),
        ([Trial("grpo", 0.9, 1e9), *tried(("rl", 0.0, 1e9), ("dpo", 0.9, 1e9))], "hybrid/dpo"),
    ):
        policy.discard()
        assert run(build("hybrid", rounds=1), policy, given([first]), past=past).algorithm == arm


def test_rounds_that_offer_nothing_are_survived(policy: Policy, pool: WorldPool) -> None:
    """Empty, broken, equally paid or unpayable rounds: an arm is chosen, and it says that nothing was learned."""
    episodes = played(policy, pool, 1, groups=4, size=4)
    broken = [replace(e, stop=StopReason.ENV_ERROR) for e in episodes]
    rounds: list[list[Episode]] = [[], broken, [paid(e, 0.0) for e in episodes], [paid(e, math.nan) for e in episodes]]
    for nothing in rounds:
        policy.discard()
        before = policy.version
        report = run(build("hybrid", rounds=1), policy, given([nothing]))
        assert report.skipped
        assert policy.version == before
        assert (report.metrics["score_rl"], report.metrics["score_dpo"]) == (0.0, 0.0)


@pytest.mark.parametrize("arm", [{"type": "stages", "stages": [{"type": "sft"}]}, {"type": "hybrid"}])
@pytest.mark.parametrize("side", ["rl", "dpo"])
def test_an_arm_plays_its_rounds_itself(side: str, arm: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="an arm is one update that plays groups of 2 or more"):
        Config.model_validate({side: arm})


# -- stages -----------------------------------------------------------------------------------------------------------


def test_stages_go_on_from_where_the_last_one_ended(policy: Policy, pool: WorldPool) -> None:
    play = Counts(Plays(policy, pool))
    report = run(build("stages", rounds=4, groups=8), policy, play)
    assert len(play.rounds) == 2 + 2
    staged = policy.version
    policy.discard()
    rng, parts = np.random.default_rng(0), []
    lesson = Lesson(policy, Plays(policy, pool), Rehearsal([], None), rng)
    policy.fork()
    for name in ("sft", "grpo"):
        steps = build(name, rounds=2, groups=8).steps(lesson)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            parts.append(end.value)
    assert policy.version == staged
    assert report.algorithm == "sft -> grpo"
    assert report.optimizer_steps == sum(part.optimizer_steps for part in parts)
    assert report.metrics["1-sft/nll"] == parts[0].metrics["nll"]
    assert report.metrics["2-grpo/return"] == parts[1].metrics["return"]


def test_one_report_of_several_by_hand() -> None:
    first = UpdateReport("sft", 2, 10, 3, 0.1, 0.2, skipped="no episode succeeded", flops=1.0, metrics={"nll": 0.5})
    second = UpdateReport("hybrid/rl", 5, 20, 8, 0.3, None, stopped="stopped in round 2", flops=2.0, reason="rl (...)")
    assert merged([(1, first), (2, second)]) == UpdateReport(
        "sft -> hybrid/rl", 7, 30, 8, 0.3, None, "1-sft: no episode succeeded", "2-hybrid/rl stopped in round 2", 3.0,
        {"1-sft/nll": 0.5}, "2-hybrid/rl: rl (...)",
    )  # fmt: skip


def test_a_hybrid_builds_from_its_settings_alone() -> None:
    assert isinstance(Config().build(), Hybrid)
    assert (Config().rl["type"], Config().dpo["type"], Config().rl["group_size"]) == ("grpo", "dpo", 8)
