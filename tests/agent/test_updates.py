"""Every update learns the identity world from chance, and nothing from noise.

Copycat says a word; saying it back pays 1. Chance is 1/4, the optimum 1. The base is a random model of 50 k parameters.
"""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.batch import samples_of
from agent.finite import NotFinite
from agent.policy import Policy
from agent.rehearsal import rehearse
from envs.collect import WorldPool
from envs.component import names
from envs.types import Episode
from tests.agent.learning import EXCHANGES, WORLD, Plays, build, given, learner_in, paid, played, run, success

EVERY = pytest.mark.parametrize("name", names("agent.updates"))


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    return learner_in(tiny_folder)


@pytest.fixture(scope="module")
def pool() -> WorldPool:
    return WorldPool({"copycat": WORLD, "exchanged": WORLD.with_(drift=EXCHANGES)})


@EVERY
def test_learns_copycat_from_chance(name: str, policy: Policy, pool: WorldPool) -> None:
    """Chance 0.25; noise of 256 episodes is 0.03; the plateau is above 0.97."""
    assert success(policy, pool) < 0.45
    report = run(build(name), policy, Plays(policy, pool))
    assert success(policy, pool) >= 0.9
    assert report.algorithm in (name, "hybrid/rl", "hybrid/dpo", "sft -> grpo")
    assert report.kl_new is not None
    assert report.kl_new > 0.1
    assert report.kl_old_tasks is None
    assert report.flops > 0


@EVERY
def test_shuffled_rewards_teach_nothing(name: str, policy: Policy, pool: WorldPool) -> None:
    """The negative control: the same rewards, handed to the wrong episodes."""
    rng = np.random.default_rng(0)

    def shuffled(episodes: list[Episode]) -> list[Episode]:
        rewards = rng.permutation([e.steps[0].reward for e in episodes])
        return [paid(e, float(r)) for e, r in zip(episodes, rewards, strict=True)]

    run(build(name), policy, Plays(policy, pool, change=shuffled))
    assert success(policy, pool) <= 0.25 + 0.1 + 0.05


@EVERY
def test_equal_rewards_move_no_weight_and_say_so(name: str, policy: Policy, pool: WorldPool) -> None:
    """Nothing was better than anything: no advantage, no pair, no success to clone."""
    flat = [paid(e, 0.0) for e in played(policy, pool, 0)]
    before = policy.version
    report = run(build(name, rounds=2), policy, given([flat] * 4))
    assert policy.version == before
    assert report.optimizer_steps == 0
    assert report.skipped


@EVERY
def test_same_seed_same_weights_and_only_the_candidate_moves(name: str, tiny_folder: Path, pool: WorldPool) -> None:
    versions = []
    for _ in range(2):
        policy = learner_in(tiny_folder)
        frozen = {n: p.clone() for n, p in policy.checkpoint.model.named_parameters() if ".candidate." not in n}
        run(build(name, rounds=2), policy, Plays(policy, pool))
        versions.append(policy.version)
        now = dict(policy.checkpoint.model.named_parameters())
        assert all(torch.equal(now[n], p) for n, p in frozen.items())
        with policy.using("champion"):
            assert policy.version != versions[-1]
    assert versions[0] == versions[1]


@EVERY
@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_rewards_that_are_no_numbers_move_no_weight(name: str, reward: float, policy: Policy, pool: WorldPool) -> None:
    poisoned = [paid(e, reward) for e in played(policy, pool, 0)]
    before = policy.version
    with contextlib.suppress(NotFinite):
        assert run(build(name, rounds=2), policy, given([poisoned] * 4)).skipped
    assert policy.version == before


def test_a_habit_that_every_member_has_is_doubted(policy: Policy, pool: WorldPool) -> None:
    """All say the same and all get the same: nothing to compare, but with exploration other answers come alive."""
    run(build("grpo"), policy, Plays(policy, pool))
    policy.adopt()
    flat = [paid(e, 1.0) for e in played(policy, pool, 0)]
    observation, choices = flat[0].steps[0].observation, flat[0].steps[0].choices
    assert choices is not None
    before = min(policy.table(observation, choices).values())
    report = run(build("grpo", rounds=1, exploration_weight=0.1), policy, given([flat]))
    assert report.optimizer_steps > 0
    assert not report.skipped
    assert min(policy.table(observation, choices).values()) > 2 * before


def test_rehearsal_holds_what_was_learned_first(policy: Policy, pool: WorldPool) -> None:
    """First copying, then copying with the answers' meaning exchanged (and said so): the same update forgets or not.

    Seen here at this rate: without rehearsal the old skill fell from 0.98 to 0.3 or 0.5 and the new one often
    collapsed; with it the old one stayed at 0.99 and the new one reached 0.6 to 0.8 (chance 0.25).
    """
    run(build("grpo"), policy, Plays(policy, pool))
    policy.adopt()
    assert success(policy, pool) > 0.9
    old = played(policy, pool, 500)
    kept, gained, kl = {}, {}, {}
    for weight in (0.0, 1.0):
        policy.discard()
        rehearsal = rehearse(policy, old, 256, np.random.default_rng(1))
        update = build("grpo", learning_rate=5e-3, rehearsal_weight=weight)
        report = run(update, policy, Plays(policy, pool, task="exchanged"), rehearsal)
        kept[weight], kl[weight] = success(policy, pool), report.kl_old_tasks
        gained[weight] = success(policy, pool, task="exchanged")
    assert kept[0.0] < 0.75
    assert kept[1.0] > 0.9
    assert gained[1.0] > 0.45
    assert kl[1.0] < 0.1 < kl[0.0]


def test_first_importance_ratio_is_one(policy: Policy, pool: WorldPool) -> None:
    samples = samples_of(played(policy, pool, 0))
    with torch.no_grad():
        now = policy.score(samples).sums
    old = torch.tensor([float(s.logprobs.sum()) for s in samples])
    assert torch.allclose((now - old).exp(), torch.ones(len(samples)), atol=1e-4)
