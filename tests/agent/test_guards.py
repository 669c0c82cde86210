"""The guards: each rule of the watch, the weights it gives back, and a pull whose weight is worked out by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agent.batch import Scores, samples_of
from agent.divergence import reverse_kl
from agent.guards import Anchor, StopSettings, Watch, about_round
from agent.lvlm.adapters import CHAMPION
from agent.policy import Policy
from envs.collect import WorldPool
from envs.types import StopReason
from tests.agent.learning import Plays, build, given, paid, played, run, shaken, spoken, watched

FINE = {"return": 0.0, "entropy": 1.0, "spread": 1.0, "readable": 1.0}
RULES = [
    ({"entropy": 0.3}, {"entropy": 0.2}, "entropy fell to 0.200 (stop.entropy is 0.3)"),
    ({"spread": 0.25}, {"spread": 0.125}, "spread fell to 0.125 (stop.spread is 0.25)"),
    ({"readable": 0.5}, {"readable": 0.4}, "readable fell to 0.400 (stop.readable is 0.5)"),
    ({"drop": 0.5}, {"return": -0.6}, "the return fell to -0.600, 0.600 below its best (stop.drop is 0.5)"),
]


# -- the watch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limits", "fallen", "told"), RULES)
def test_each_rule_holds_below_the_best_return_alone(
    limits: dict[str, float], fallen: dict[str, float], told: str, policy: Policy
) -> None:
    """A round that is the best is never a collapse, however sure and alike its answers are."""
    watch = Watch(StopSettings.model_validate(limits), policy)
    assert watch.trouble({**FINE, **fallen}) == ""
    watch = Watch(StopSettings.model_validate(limits), policy)
    assert watch.trouble(FINE) == ""
    assert watch.trouble({**FINE, "return": -0.1}) == "", "worse, but nothing fell"
    assert watch.trouble({**FINE, "return": -0.1, **fallen}) == told
    assert watch.trouble({**FINE, **fallen, "return": 0.0}) == "", "as good as the best"


@pytest.mark.parametrize(("limits", "fallen", "told"), RULES)
def test_a_rule_that_is_off_stops_nothing(
    limits: dict[str, float], fallen: dict[str, float], told: str, policy: Policy
) -> None:
    watch = Watch(StopSettings(readable=None), policy)
    watch.trouble(FINE)
    assert watch.trouble({**FINE, "return": -0.1, **fallen}) == ""


def test_the_best_round_s_very_weights_come_back(policy: Policy) -> None:
    watch = Watch(StopSettings(), policy)
    versions = []
    for gain in (0.1, 0.7, 0.4):
        shaken(policy, seed=len(versions))
        versions.append(policy.version)
        watch.trouble({**FINE, "return": gain})
    assert len(set(versions)) == 3
    watch.restore()
    assert policy.version == versions[1]


def test_a_round_that_the_worlds_broke_says_nothing_of_the_candidate(policy: Policy, pool: WorldPool) -> None:
    """It has no return: neither the best one (the others are negative) nor a fall."""
    broken = [replace(e, stop=StopReason.ENV_ERROR) for e in played(policy, pool, 0, groups=2, size=2)]
    assert about_round(broken) == about_round([]) == {}
    watch = Watch(StopSettings(drop=0.1), policy)
    for about in ({**FINE, "return": -1.0}, about_round(broken), about_round([])):
        assert watch.trouble(about) == ""
    assert watch.best == -1.0


def test_about_round_by_hand(policy: Policy, pool: WorldPool) -> None:
    """Group 0 pays 1 and 0, group 1 pays 0 and 0, group 2 has one episode left: spread 1/2, mean return 1/5."""
    episodes = played(policy, pool, 0, groups=3, size=2)
    rewards = (1.0, 0.0, 0.0, 0.0, 0.0, math.nan)
    mixed = [paid(e, reward) for e, reward in zip(episodes, rewards, strict=True)]
    about = about_round(mixed)
    assert about["spread"] == 0.5
    assert about["return"] == pytest.approx(0.2)
    assert about["readable"] == 1.0
    assert about["entropy"] == pytest.approx(np.mean([-e.steps[0].action.logprobs.sum() for e in mixed[:5]]))
    assert "spread" not in about_round(mixed[:1]), "one episode differs from nothing"


def test_an_update_goes_back_to_its_best_moment_and_says_so(policy: Policy, pool: WorldPool) -> None:
    """Rounds pay 0 or 1, 0 or 1, then less: the third is not learned from, and the second's weights come back."""
    versions: list[str] = []

    def play(groups: int, size: int, review: float = 0.0) -> Any:
        versions.append(policy.version)
        best = 1.0 if len(versions) < 3 else 0.25
        episodes = [paid(e, best * (i % 2)) for i, e in enumerate(played(policy, pool, len(versions), 4, 4))]
        return given([episodes])(groups, size)

    report = run(build("grpo", rounds=5, stop={"drop": 0.3}), policy, play)
    assert len(set(versions)) == len(versions) == 3
    assert policy.version == versions[1]
    assert report.optimizer_steps == 2
    assert report.stopped == (
        "stopped in round 3 of 5, back at its best: the return fell to 0.125, 0.375 below its best (stop.drop is 0.3)"
    )


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_far_from_the_policy_that_played_the_rest_of_a_round_is_left_out(
    name: str, policy: Policy, pool: WorldPool
) -> None:
    """At this rate the first step of a round goes too far; it is seen in the second or third."""
    sizes = {"groups": 128 if name == "ppo" else 16, "group_size": 1 if name == "ppo" else 8}
    changes: dict[str, Any] = {"rounds": 3, "minibatch": 16, "epochs": 2, "learning_rate": 1e-2, **sizes}
    steps = {}
    for kl in (None, 0.01):
        policy.discard()
        told, report = watched(build(name, **changes, stop={"kl": kl}), policy, Plays(policy, pool))
        steps[kl] = report.optimizer_steps
    learned = 2 if name == "ppo" else 3  # PPO's first round warms its critic up
    assert steps[None] >= 6 * learned
    assert learned <= steps[0.01] <= 3 * learned
    if name == "ppo":
        assert len(told) == 2, "no second epoch"


# -- the anchor -------------------------------------------------------------------------------------------------------


def test_the_weight_doubles_and_halves_by_hand(policy: Policy) -> None:
    """Target 0.1: above 0.15 it doubles, below 0.0667 it halves, in between it stays; the mean of a round counts."""
    anchor = Anchor(policy, 0.5, 0.1)
    for seen, weight in (
        ([], 0.5), ([0.16], 1.0), ([0.05, 0.35], 2.0), ([0.149], 2.0), ([0.068], 2.0), ([0.066], 1.0), ([0.0], 0.5),
    ):  # fmt: skip
        anchor.seen = list(seen)
        anchor.adapt()
        assert anchor.weight == weight
        assert anchor.seen == []
    still = Anchor(policy, 0.5, None)
    still.seen = [9.0]
    still.adapt()
    assert still.weight == 0.5


def test_kl_over_closed_sets_is_the_sum_over_all_answers(policy: Policy, pool: WorldPool) -> None:
    """KL(candidate || champion), by a loop over every answer of every observation."""
    shaken(policy)
    episodes = played(policy, pool, 0, groups=6, size=1)
    anchor = Anchor(policy, 2.0, None)
    samples = samples_of(episodes)
    anchor.begin(samples)
    some = [4, 1, 3]
    pull, about = anchor.term(some, policy.score([samples[i] for i in some]))
    expected = []
    for i in some:
        observation, choices = samples[i].observation, samples[i].choices
        assert choices is not None
        now = policy.table(observation, choices)
        with policy.using(CHAMPION):
            before = policy.table(observation, choices)
        expected.append(sum(p * math.log(p / before[answer]) for answer, p in now.items()))
    assert np.mean(expected) > 0.1
    assert float(about["kl_champion"]) == pytest.approx(np.mean(expected), rel=1e-4)
    assert float(pull) == pytest.approx(2 * np.mean(expected), rel=1e-4)
    assert float(about["kl_weight"]) == 2.0


def test_kl_of_open_answers_is_estimated_and_padding_counts_nothing() -> None:
    """Gaps of log 2 and 0 over two decisions: k3 = (2 - 1 - log 2 + 0) / 2; what stands beyond the mask is ignored."""
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    open_ = torch.zeros(2, dtype=torch.bool)
    now = Scores(torch.tensor([[-2.0, -1.0, 7.0]]), mask, torch.zeros(1), None, open_[:1])
    said = torch.tensor([[9.0, 9.0], [-2.0 + math.log(2), -1.0]])
    reference = Scores(said, torch.ones(2, 2), torch.zeros(2), None, open_)
    assert float(reverse_kl(now, reference.take([1]))) == pytest.approx((1 - math.log(2)) / 2, rel=1e-6)


@pytest.mark.parametrize("name", ["grpo", "dpo", "kto", "sft"])
def test_a_pull_of_no_weight_asks_the_champion_nothing(
    name: str, policy: Policy, pool: WorldPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    real = Policy.score

    def score(self: Policy, *given: Any, **more: Any) -> Scores:
        asked.append(self.adapters.active == CHAMPION and bool(asking))
        return real(self, *given, **more)

    monkeypatch.setattr(Policy, "score", score)
    episodes = [paid(e, float(i % 2)) for i, e in enumerate(played(policy, pool, 0, groups=4, size=4))]
    counts = []
    for weight in (0.0, 0.1):
        asking = asked.clear() or [True]
        run(build(name, rounds=1, kl_weight=weight), policy, given([episodes]))
        counts.append(sum(asked))
    without, with_pull = counts
    assert without == 1, "kl_new of the report alone"
    assert with_pull == 2


@pytest.mark.parametrize("name", ["grpo", "dpo", "kto", "sft", "ppo"])
def test_a_target_keeps_an_update_near_the_champion(name: str, policy: Policy, pool: WorldPool) -> None:
    """The control is the same update without the pull."""
    far = {}
    for weight in (0.0, 4.0):
        policy.discard()
        pull: dict[str, Any] = {"kl_weight": weight, "kl_target": 1e-3 if weight else None}
        report = run(build(name, rounds=6, groups=32, **pull), policy, Plays(policy, pool))
        assert report.kl_new is not None
        far[weight] = report.kl_new
        assert ("kl_weight" in report.metrics) == bool(weight)
    assert far[4.0] < 0.5 * far[0.0]
    assert report.metrics["kl_weight"] != 4.0, "it sought its target"


def test_dpo_pulls_where_a_rejected_answer_is_longer_than_every_chosen_one(policy: Policy) -> None:
    """The chosen answers' champion log-probs are narrower than the scores of chosen and rejected together."""
    episodes = spoken(policy, [f"say {i}" for i in range(4)], rewards=[1.0, 0.0], lengths=[2, 5])
    report = run(build("dpo", rounds=1, kl_weight=0.1), policy, given([episodes]))
    assert report.optimizer_steps == 1
    assert report.metrics["kl_champion"] == pytest.approx(0, abs=1e-6), "its one step began at the champion"
