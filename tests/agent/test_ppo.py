"""PPO by stable-baselines3: what SB3 may touch, what a row is, what an advantage is made of, and what it repeats."""

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from agent.batch import samples_of
from agent.critic import final_values, make_critic, warm_up
from agent.finite import NotFinite
from agent.learner import Learner
from agent.lesson import Lesson, Round
from agent.lvlm.adapters import CHAMPION
from agent.lvlm.engine import Engine
from agent.policy import Policy
from agent.rehearsal import Rehearsal, rehearse
from agent.updates.ppo import Config, Ppo, Trainer, charged
from envs.collect import WorldPool
from envs.types import Episode, StopReason
from tests.agent.learning import WORLD, Plays, build, given, learner_in, paid, played, run, shaken, spoken, watched

SMALL: dict[str, Any] = {"rounds": 2, "groups": 32, "value_warmup": 0, "value_steps": 5}


@pytest.fixture(scope="module")
def pool() -> WorldPool:
    return WorldPool({"copycat": WORLD, "long": WORLD.with_(kwargs={"length": 3})})


def lesson_of(policy: Policy) -> Lesson:
    return Lesson(policy, given([]), Rehearsal([], None), np.random.default_rng(0))


def trainer_of(policy: Policy, **changes: Any) -> tuple[Trainer, Learner, Ppo]:
    update = build("ppo", **changes)
    assert isinstance(update, Ppo)
    lesson = lesson_of(policy)
    critic = make_critic(lesson)
    learner = Learner("ppo", lesson, update.settings, list(critic.parameters()))
    return Trainer(learner, critic, update.settings), learner, update


# -- what SB3 may touch -----------------------------------------------------------------------------------------------


def test_sb3_has_the_candidate_s_and_the_critic_s_weights_and_no_others(policy: Policy) -> None:
    """Neither its optimizer nor its clipping sees more; and it re-initialises nothing."""
    before = {name: weight.clone() for name, weight in policy.checkpoint.model.named_parameters()}
    trainer, learner, _ = trainer_of(policy)
    mine = {id(parameter) for parameter in [*policy.parameters(), *trainer.critic.parameters()]}
    of_sb3 = trainer.model.policy
    optimized = [parameter for group in of_sb3.optimizer.param_groups for parameter in group["params"]]
    assert of_sb3.optimizer is learner.optimizer
    assert {id(parameter) for parameter in optimized} == mine
    assert {id(parameter) for parameter in of_sb3.parameters()} == mine
    for name, weight in policy.checkpoint.model.named_parameters():
        assert torch.equal(weight, before[name]), name


def test_sb3_does_not_move_the_weights(policy: Policy) -> None:
    """Its rows are on the CPU; the LVLM, and so its adapter, may be elsewhere. A cast stands for a move."""
    trainer, *_ = trainer_of(policy)
    trainer.model.policy.to(torch.float64)
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}


def test_a_whole_update_pickles_nothing_and_moves_the_candidate_alone(
    policy: Policy, pool: WorldPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was pickled")

    for owner, name in ((pickle, "dumps"), (pickle, "dump"), (cloudpickle, "dumps"), (torch, "save")):
        monkeypatch.setattr(owner, name, refuse)
    model = policy.checkpoint.model
    frozen = {n: w.clone() for n, w in model.named_parameters() if ".candidate." not in n}
    before = policy.version
    report = run(build("ppo", **SMALL), policy, Plays(policy, pool))
    assert report.optimizer_steps > 0
    assert policy.version != before
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in frozen.items())


# -- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_is_a_token_and_an_answer_s_tokens_share_its_advantage(policy: Policy) -> None:
    """Answers of 3, 1 and 2 tokens make 6 rows; the ratio of each is its own token's."""
    episodes = spoken(policy, ["say it"], rewards=[1.0, 0.0, 0.5], lengths=[3, 1, 2])
    trainer, learner, update = trainer_of(policy, kl_weight=0.0, minibatch=6)
    rows, prices = update._rows(learner, episodes)
    assert rows.of_sample.tolist() == [0, 0, 0, 1, 2, 2]
    assert rows.token.tolist() == [0, 1, 2, 0, 0, 1]
    assert not prices.any()
    said = np.concatenate([sample.logprobs for sample in rows.samples])
    assert np.array_equal(rows.old, said)
    trainer.begin(rows, np.array([3.0, 1.0, 2.0]), np.array([30.0, 10.0, 20.0]), np.zeros(3))
    buffer = trainer.model.rollout_buffer
    assert buffer.advantages.flatten().tolist() == [3.0, 3.0, 3.0, 1.0, 2.0, 2.0]
    assert buffer.returns.flatten().tolist() == [30.0, 30.0, 30.0, 10.0, 20.0, 20.0]
    values, logprobs, entropy = trainer.evaluate(np.array([4, 1, 2]))
    assert np.allclose(logprobs.detach().numpy(), said[[4, 1, 2]], atol=1e-5)
    assert values[1] == values[2]
    assert entropy[1] == entropy[2] != entropy[0]


def test_closed_answers_are_a_row_each(policy: Policy, pool: WorldPool) -> None:
    episodes = played(policy, pool, 0, groups=4, size=1, task="long")
    rows, _ = trainer_of(policy)[2]._rows(trainer_of(policy)[1], episodes)
    assert rows.of_sample.tolist() == list(range(12))
    assert not rows.token.any()
    assert rows.old.tolist() == pytest.approx([float(s.logprobs.sum()) for s in samples_of(episodes)])


def test_every_row_is_asked_once_an_epoch(policy: Policy, pool: WorldPool) -> None:
    trainer, learner, update = trainer_of(policy, minibatch=5)
    rows, _ = update._rows(learner, played(policy, pool, 0, groups=12, size=1))
    trainer.begin(rows, np.arange(12.0), np.zeros(12), np.zeros(12))
    batches = [batch.observations.flatten().long().tolist() for batch in trainer.model.rollout_buffer.get(5)]
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert sorted(row for batch in batches for row in batch) == list(range(12))


@pytest.mark.parametrize("mode", ["closed", "open"])
def test_the_first_ratio_is_one(mode: str, policy: Policy, pool: WorldPool) -> None:
    """Nothing has moved before the first step, so nothing is clipped; the second pass sees that it did move."""
    shaken(policy)
    episodes = spoken(policy, [f"say {i}" for i in range(12)], rewards=[1.0, 0.0], lengths=[3, 5])
    if mode == "closed":
        episodes = [paid(e, float(i % 2)) for i, e in enumerate(played(policy, pool, 0, groups=24, size=1))]
    lesson = Lesson(policy, given([episodes]), Rehearsal([], None), np.random.default_rng(0))
    steps = build("ppo", rounds=1, value_warmup=0, epochs=2, minibatch=96).steps(lesson)
    first, second = next(steps), next(steps)
    assert first["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert first["clipfrac"] == 0
    assert second["approx_kl"] > 1e-3


# -- advantages -------------------------------------------------------------------------------------------------------


def last_states(policy: Policy, episodes: list[Episode]) -> torch.Tensor:
    with torch.no_grad():
        states = policy.score(samples_of(episodes), states=True).states
    assert states is not None
    return states


def test_a_limit_is_bootstrapped_and_an_end_is_not(policy: Policy, pool: WorldPool) -> None:
    """One step, discount 0.9: advantage = reward + 0.9 V(final) - V(start) if it was cut off, reward - V(start) if not.

    The value of the final observation is the critic's of that very prompt.
    """
    (episode,) = played(policy, pool, 0, groups=1, size=1)
    ended = paid(episode, 0.5)
    cut = replace(ended, stop=StopReason.TRUNCATED)
    _, learner, update = trainer_of(policy, discount=0.9, gae_lambda=0.7)
    critic = make_critic(lesson_of(policy))
    with torch.no_grad():
        value = critic(last_states(policy, [ended])).flatten().double().numpy()
        asked = replace(ended, steps=(replace(ended.steps[0], observation=ended.final),))
        beyond = float(critic(last_states(policy, [asked])))
    assert final_values(policy, critic, [cut]) == pytest.approx([beyond], abs=1e-6)
    assert abs(beyond) > 1e-3
    assert final_values(policy, critic, []) == []
    advantages, targets = update._advantages(learner, critic, [cut, ended, cut], value.repeat(3))
    expected = [0.5 + 0.9 * beyond - value[0], 0.5 - value[0], 0.5 + 0.9 * beyond - value[0]]
    assert advantages.tolist() == pytest.approx(expected, abs=1e-6)
    assert targets.tolist() == pytest.approx(advantages + value[0], abs=1e-6)


def test_kl_to_the_champion_is_taken_from_each_step_s_reward(policy: Policy) -> None:
    """0.1 * sum over tokens of log-prob less the champion's, each answer by its own forward."""
    shaken(policy)
    episodes = spoken(policy, ["say it", "say that"], rewards=[1.0, 0.0], lengths=[3, 2])
    _, learner, update = trainer_of(policy, kl_weight=0.1)
    _, prices = update._rows(learner, episodes)
    for episode, price in zip(episodes, prices, strict=True):
        (sample,) = samples_of([episode])
        with torch.no_grad(), policy.using(CHAMPION):
            before = policy.score([sample]).sums.item()
        assert price == pytest.approx(0.1 * (float(sample.logprobs.sum()) - before), rel=1e-4, abs=1e-6)
    assert np.abs(prices).min() > 0.01
    paid_less = charged(episodes, prices)
    assert [e.steps[0].reward for e in paid_less] == pytest.approx(np.array([1.0, 0.0, 1.0, 0.0]) - prices)
    tokens = sum(len(e.steps[0].action.tokens) for e in episodes)
    assert learner.about["kl_champion"] == pytest.approx(prices.sum() / 0.1 / tokens, rel=1e-4)


def test_a_critic_that_is_warm_explains_what_is_paid(policy: Policy, pool: WorldPool) -> None:
    """One word of four pays, which can be read off the prompt; the cold critic knows nothing of it."""
    episodes = played(policy, pool, 0, groups=64, size=1)
    worth = np.array([float("is red" in e.steps[0].observation.text) for e in episodes])
    states = last_states(policy, episodes)
    critic = make_critic(lesson_of(policy))
    cold = float(((critic(states).detach().flatten().numpy() - worth) ** 2).mean())
    assert warm_up(critic, states, worth, 200) < 0.1 * worth.var()
    assert cold > worth.var()


# -- in one piece -----------------------------------------------------------------------------------------------------


def test_the_warm_up_leaves_the_candidate_alone(policy: Policy, pool: WorldPool) -> None:
    before, plays = policy.version, Plays(policy, pool)

    def flat_at_last(groups: int, size: int, review: float = 0.0) -> Round:
        fresh = plays(groups, size)
        return Round([paid(e, 0.0) for e in fresh.episodes]) if plays.number == 3 else fresh

    report = run(build("ppo", rounds=3, groups=32, value_warmup=2, value_steps=5), policy, flat_at_last)
    assert policy.version == before
    assert report.optimizer_steps == 0
    assert report.metrics["value_loss"] > 0


def test_rehearsal_runs_between_epochs(policy: Policy, pool: WorldPool) -> None:
    """64 rows in minibatches of 16 are 4 steps an epoch; as many of 8 remembered decisions follow each of 2 epochs."""
    rehearsal = rehearse(policy, played(policy, pool, 9, groups=16, size=1), 16, np.random.default_rng(0))
    sizes = {"rounds": 1, "groups": 64, "minibatch": 16, "epochs": 2, "value_warmup": 0, "rehearsal_batch": 8}
    update = build("ppo", **sizes, rehearsal_weight=1.0)
    told, report = watched(update, policy, Plays(policy, pool), rehearsal)
    assert len(told) == 2
    assert report.samples_rehearsed == 2 * 4 * 8
    assert report.optimizer_steps == 2 * 4 + 2 * 4
    assert report.samples_new == 2 * 64
    assert told[-1]["rehearsal_kl"] > 0
    assert report.kl_old_tasks is not None


def test_it_repeats_whatever_numpy_s_and_torch_s_own_luck_is(tiny_folder: Path, pool: WorldPool) -> None:
    versions = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        policy = learner_in(tiny_folder)
        run(build("ppo", **SMALL), policy, Plays(policy, pool))
        versions.append(policy.version)
    assert versions[0] == versions[1]
    assert versions[0] != learner_in(tiny_folder).version


def test_it_goes_on_in_smaller_minibatches_where_memory_runs_out(
    policy: Policy, pool: WorldPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forward with gradients takes 2 rows here, and no more."""
    real = Engine.read

    def read(self: Engine, rows: Any, most: int) -> Any:
        if torch.is_grad_enabled() and len(rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, rows, most)

    episodes = played(policy, pool, 0, groups=8, size=1, task="long")
    monkeypatch.setattr(Engine, "read", read)
    report = run(build("ppo", rounds=1, value_warmup=0, epochs=1), policy, given([episodes]))
    assert report.optimizer_steps >= 24 / 8
    assert policy.budget.halvings > 0


def test_weights_that_are_no_numbers_end_the_update(policy: Policy, pool: WorldPool) -> None:
    def poisoned() -> Iterator[list[Episode]]:
        yield [paid(e, float(i % 2)) for i, e in enumerate(played(policy, pool, 0, groups=8, size=1))]
        raise AssertionError("a second round was played")

    _, learner, update = trainer_of(policy, rounds=2, value_warmup=0)
    learner.policy.parameters()[0].register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NotFinite, match="ppo: not finite"):
        run(update, policy, given(poisoned()))


def test_defaults_are_the_paper_s() -> None:
    """VL-DAC: a value warm-up, KL of about 0.04, and one episode a start."""
    config = Config()
    assert (config.value_warmup, config.kl_weight, config.group_size) == (1, 0.04, 1)
