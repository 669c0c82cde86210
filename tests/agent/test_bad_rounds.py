"""Rounds that the worlds spoilt, handed to every update: it says so or goes on, and learns of sound episodes alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.batch import samples_of, sound
from agent.learner import Learner, pieces
from agent.lesson import Lesson
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.updates.grpo import Config as Grpo
from envs.collect import WorldPool
from envs.component import names
from envs.types import Episode, StopReason
from tests.agent.learning import WORLD, build, given, learner_in, paid, played, run

EVERY = pytest.mark.parametrize("name", names("agent.updates"))
SPOILT: dict[str, Callable[[Episode], Episode]] = {
    "broken by its world": lambda e: replace(paid(e, 1.0), stop=StopReason.ENV_ERROR),
    "paid nan": lambda e: paid(e, math.nan),
    "paid infinitely": lambda e: paid(e, math.inf),
    "without a step": lambda e: replace(e, steps=()),
}


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return learner_in(tiny_folder)


@pytest.fixture(autouse=True)
def _fresh(policy: Policy) -> None:
    policy.discard()


@pytest.fixture(scope="module")
def episodes(policy: Policy) -> list[Episode]:
    """8 groups of 8, paid as the world pays."""
    return played(policy, WorldPool({"copycat": WORLD}), 1, groups=8, size=8)


@EVERY
def test_an_empty_round_teaches_nothing_and_says_so(name: str, policy: Policy) -> None:
    before = policy.version
    report = run(build(name, rounds=2), policy, given([[]] * 4))
    assert policy.version == before
    assert report.skipped
    assert report.kl_new is None


@EVERY
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_episode_among_sound_ones_changes_nothing(
    name: str, how: str, policy: Policy, episodes: list[Episode]
) -> None:
    """The weights are those of the round without it: it is no member of its group, no pair, no row."""
    spoilt = list(episodes)
    for i in (3, 20, 21):
        spoilt[i] = SPOILT[how](episodes[i])
    assert len(sound(spoilt)) == len(samples_of(spoilt)) == 61
    left_out = [e for i, e in enumerate(episodes) if i not in (3, 20, 21)]
    versions = []
    for rounds in (spoilt, left_out):
        policy.discard()
        changes = {"value_warmup": 0} if name == "ppo" else {}
        report = run(build(name, rounds=1, **changes), policy, given([rounds] * 2))
        assert report.optimizer_steps > 0
        versions.append(policy.version)
    assert versions[0] == versions[1]


@EVERY
def test_a_round_that_was_all_spoilt_is_no_collapse(name: str, policy: Policy, episodes: list[Episode]) -> None:
    """A sound round, a broken one, a sound one: the guards stay calm, and what was learned stays."""
    broken = [SPOILT["broken by its world"](e) for e in episodes]
    changes = {"value_warmup": 0} if name == "ppo" else {}
    rounds = [episodes, broken, episodes] * 2
    before = policy.version
    report = run(
        build(name, rounds=6 if name == "stages" else 3, stop={"drop": 0.01}, **changes), policy, given(rounds)
    )
    assert report.stopped == ""
    assert report.skipped == ""
    assert policy.version != before


def test_a_metric_that_a_piece_lacks_is_no_zero(policy: Policy, episodes: list[Episode]) -> None:
    """A step over 4 items in pieces of 1: `odd` is told by two pieces, 5 each; its mean is 5, not 2.5."""
    lesson = Lesson(policy, given([]), Rehearsal([], None), np.random.default_rng(0))
    policy.fork()
    learner = Learner("test", lesson, Grpo())
    learner._pieces = lambda items: pieces(items, 1)  # type: ignore[method-assign]
    samples = samples_of(episodes)

    def loss(some):
        value = policy.score([samples[i] for i in some]).logprobs.mean()
        return value, {"all": value.detach() * 0 + some[0]} | ({"odd": value.detach() * 0 + 5} if some[0] % 2 else {})

    told = learner.step([0, 1, 2, 3], loss)
    assert (told["odd"], told["all"]) == (5.0, 1.5)
