"""DPO's family in one piece: every loss learns, stored log-probs are the reference, and old pairs are scored anew."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agent.batch import Scores, sample_of
from agent.learner import Learner
from agent.lesson import Lesson
from agent.lvlm.engine import Engine
from agent.pair_batch import prepared, spoken_here
from agent.pairs import PairSettings
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.updates.dpo import Config, Dpo
from envs.collect import WorldPool
from memory.preferences import PreferencePair
from tests.agent.learning import (
    Plays,
    build,
    given,
    paid,
    played,
    run,
    shaken,
    spoken,
    success,
    watched,
)  # fmt: skip

LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "smoothed": {"smoothing": 0.1},
    "ipo": {"loss": {"ipo": 1}, "beta": 0.2},
    "hinge": {"loss": {"hinge": 1}},
    "simpo": {"loss": {"simpo": 1}, "beta": 2.0},
    "bco": {"loss": {"bco": 1}},
    "nll": {"loss": {"nll": 1}},
    "mpo": {"loss": {"sigmoid": 0.8, "bco": 0.2, "nll": 1}},
}
WHOLE = {"rounds": 1, "minibatch": 1024}


@pytest.fixture
def pairs(policy: Policy, pool: WorldPool) -> list[PreferencePair]:
    """At least 8, of 4 groups."""
    made = pairs_of(played(policy, pool, 0, groups=6, size=8))
    assert len(made) > 8
    return made


def pairs_of(episodes: Sequence[Any]) -> list[PreferencePair]:
    return PairSettings().build().make(episodes)[0]


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each forward from now on."""
    seen: list[int] = []
    real = Engine.read

    def read(self: Engine, rows: Any, most: int) -> Any:
        seen.append(len(rows))
        return real(self, rows, most)

    monkeypatch.setattr(Engine, "read", read)
    return seen


class Remembers:
    """A memory of pairs in a list."""

    def __init__(self, pairs: Sequence[PreferencePair] = ()) -> None:
        self.pairs, self.kept = list(pairs), []  # type: tuple[list[PreferencePair], list[PreferencePair]]

    def keep(self, pairs: Sequence[PreferencePair]) -> None:
        self.kept += pairs

    def draw(self, count: int) -> list[PreferencePair]:
        return self.pairs[:count]


# -- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_learns_copycat(name: str, policy: Policy, pool: WorldPool) -> None:
    """Chance 0.25, here 0.92 to 0.99; the negative control of shuffled rewards is in test_updates.py."""
    update = build("dpo", groups=24, learning_rate=2e-3, **LOSSES[name])
    run(update, policy, Plays(policy, pool))
    assert success(policy, pool) >= 0.9


def test_a_mix_is_the_weighted_sum_by_hand() -> None:
    """Chosen gained 1, rejected lost 2, beta 0.5, one decision each; BCO's shift is a tenth of the mean reward -0.25.

    0.8 * 0.2014133 + 0.2 * (log(1 + e^-0.525) + log(1 + e^-0.975)) + 1 * 1, the sigmoid being log(1 + e^-1.5).
    """
    update = Config(loss={"sigmoid": 0.8, "bco": 0.2, "nll": 1}).build()
    update.shift = -0.025
    now = Scores(torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2), None, torch.zeros(2, dtype=torch.bool))
    chosen, rejected = torch.tensor([-1.0]), torch.tensor([-3.0])
    total = update._mixed(now, chosen, rejected, torch.tensor([[-2.0, -1.0, 0.0]]))
    bco = math.log1p(math.exp(-0.5 - 0.025)) + math.log1p(math.exp(-1 + 0.025))
    assert float(total) == pytest.approx(0.8 * 0.2014133 + 0.2 * bco + 1.0, rel=1e-5)


def test_labels_that_may_be_wrong_leave_a_best_margin() -> None:
    """With smoothing 0.1 it is log(0.9 / 0.1) / beta: beyond it the push turns; without, it never does."""
    now = Scores(torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2), None, torch.zeros(2, dtype=torch.bool))
    best = math.log(9) / 0.5
    for smoothing, turns in ((0.1, True), (0.0, False)):
        for margin, beyond in ((best - 0.1, False), (best + 0.1, True)):
            chosen = torch.tensor([margin], requires_grad=True)
            loss = Config(smoothing=smoothing).build()._mixed(now, chosen, torch.zeros(1), torch.zeros(1, 3))
            (push,) = torch.autograd.grad(loss.sum(), chosen)
            assert (float(push) > 0) == (turns and beyond)


# -- references -------------------------------------------------------------------------------------------------------


def test_parting_pairs_run_no_reference_forward(
    policy: Policy, pairs: list[PreferencePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said came with its log-probs; what nobody sampled, and old pairs, are scored."""
    seen = reads(monkeypatch)
    batch = prepared(policy, pairs, [], [None] * len(pairs))
    assert seen == []
    assert batch.reference[:, :2].tolist() == [pytest.approx(p.reference_logprobs) for p in pairs]
    unknown = [replace(pairs[0], reference_logprobs=None), *pairs[1:]]
    again = prepared(policy, unknown, [], [None] * len(pairs))
    assert seen == [1], "one prompt"
    assert torch.allclose(again.reference, batch.reference, atol=1e-4)
    assert prepared(policy, pairs, pairs[:1], [None] * len(pairs)).live == list(range(len(pairs) + 1))
    assert seen == [1, 1]


def test_an_update_reads_for_its_steps_and_its_report_alone(
    policy: Policy, pool: WorldPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = played(policy, pool, 0, groups=6, size=8)
    seen = reads(monkeypatch)
    report = run(build("dpo", **WHOLE), policy, given([episodes]))
    assert report.optimizer_steps == 1
    assert len(seen) == 1 + 2, "the step; kl_new asks both adapters"


def test_the_first_step_begins_at_the_reference_and_is_logged(policy: Policy, pool: WorldPool) -> None:
    shaken(policy)
    policy.adopt()
    episodes = played(policy, pool, 0, groups=6, size=8)
    pairs = pairs_of(episodes)
    (first, second), _ = watched(build("dpo", **WHOLE, epochs=2, learning_rate=1e-3), policy, given([episodes]))
    said = [[float(a.logprobs.sum()) for a in (p.chosen, p.rejected)] for p in pairs]
    assert [first["chosen"], first["rejected"]] == pytest.approx(np.mean(said, axis=0), abs=1e-4)
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["pairs"] == len(pairs)
    assert second["margin"] > 0.1
    assert second["margin"] == pytest.approx(
        second["chosen"] - second["rejected"] - first["chosen"] + first["rejected"], abs=1e-4
    )
    assert 0 < second["accuracy"] <= 1


def test_open_answers_are_scored_whole(policy: Policy) -> None:
    """The log-prob of an answer of 3 tokens is their sum, and the longer one is the rejected one here."""
    episodes = spoken(policy, [f"say {i}" for i in range(4)], rewards=[1.0, 0.0], lengths=[3, 5])
    (first, *_), _ = watched(build("dpo", **WHOLE), policy, given([episodes]))
    means = [np.mean([e.steps[0].action.logprobs.sum() for e in episodes[i::2]]) for i in (0, 1)]
    assert [first["chosen"], first["rejected"]] == pytest.approx(means, abs=1e-4)


# -- pairs of earlier cycles ------------------------------------------------------------------------------------------


def test_replayed_pairs_are_scored_anew_and_fresh_ones_are_kept(
    policy: Policy, pool: WorldPool, pairs: list[PreferencePair]
) -> None:
    """What an earlier cycle's policy said of them is no reference any more."""
    old = [replace(p, reference_logprobs=(-77.0, 5.0), cycle=0) for p in pairs[:6]]
    shaken(policy)
    policy.adopt()
    batch = prepared(policy, [], old, [])
    for i, pair in enumerate(old):
        samples = [sample_of(pair.observation, pair.choices, a) for a in (pair.chosen, pair.rejected)]
        with torch.no_grad():
            now = policy.score(samples).sums
        assert batch.reference[i, :2].tolist() == pytest.approx(now.tolist(), abs=1e-4)
    memory = Remembers(old)
    episodes = played(policy, pool, 3, groups=6, size=8)
    (first, *_), report = watched(build("dpo", **WHOLE, replayed=4), policy, given([episodes]), pairs=memory)
    assert first["pairs_replayed"] == 4.0
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert report.samples_new == len(memory.kept) + 4
    assert [p.chosen.tokens.tolist() for p in memory.kept] == [p.chosen.tokens.tolist() for p in pairs_of(episodes)]
    none = Remembers(old)
    run(build("dpo", **WHOLE), policy, given([episodes]), pairs=none)
    assert none.kept == [], "nobody asked to replay"


def test_pairs_in_other_tokens_are_left_out_and_counted(
    policy: Policy, pool: WorldPool, pairs: list[PreferencePair]
) -> None:
    """Another tokenizer made them: their tokens are none of the answers."""
    stale = [replace(p, chosen=replace(p.chosen, tokens=p.chosen.tokens + 1)) for p in pairs[:3]]
    renamed = replace(pairs[3], choices=("sun", "moon"))
    assert [spoken_here(policy, p) for p in (*stale, renamed, pairs[4])] == [False] * 4 + [True]
    episodes = played(policy, pool, 3, groups=6, size=8)
    memory = Remembers([*stale, renamed, pairs[4]])
    (first, *_), _ = watched(build("dpo", **WHOLE, replayed=9), policy, given([episodes]), pairs=memory)
    assert (first["pairs_replayed"], first["pairs_stale"]) == (1.0, 4.0)


def loss_gradients(policy: Policy, pairs: Sequence[PreferencePair], **changes: Any) -> tuple[float, dict[str, Any]]:
    """Size of DPO's gradient on fresh pairs, and its metrics."""
    update = build("dpo", **changes)
    assert isinstance(update, Dpo)
    lesson = Lesson(policy, given([]), Rehearsal([], None), np.random.default_rng(0))
    learner = Learner("dpo", lesson, update.settings)
    batch = prepared(policy, pairs, [], [None] * len(pairs))
    loss, metrics = update._loss(learner, batch, range(len(pairs)))
    found = torch.autograd.grad(loss, policy.parameters(), allow_unused=True)
    return sum(float(g.abs().sum()) for g in found if g is not None), metrics


def test_a_saturated_pair_carries_no_gradient(policy: Policy, pairs: list[PreferencePair]) -> None:
    """`retire_margin` is of what was gained on the reference; with one pair it is all or nothing."""
    shaken(policy)
    margins = [float(loss_gradients(policy, [pair])[1]["margin"]) for pair in pairs]
    far = int(np.argmax(margins))
    assert margins[far] > 0.1
    size, metrics = loss_gradients(policy, [pairs[far]], retire_margin=margins[far] / 2)
    assert (size, float(metrics["retired"])) == (0.0, 1.0)
    size, metrics = loss_gradients(policy, [pairs[far]], retire_margin=margins[far] * 2)
    assert size > 0
    assert float(metrics["retired"]) == 0.0


def test_old_saturated_pairs_are_left_out(policy: Policy, pool: WorldPool, pairs: list[PreferencePair]) -> None:
    """Old pairs by how far apart their answers are now; fresh ones stay. Without a living pair it says so."""
    shaken(policy)
    policy.adopt()
    everything = prepared(policy, [], pairs, [])
    apart = (everything.reference[:, 0] - everything.reference[:, 1]).tolist()
    limit = max(float(np.median(apart)), 1e-3)
    batch = prepared(policy, pairs[:2], pairs, [None] * 2, retire_margin=limit)
    assert batch.live == [0, 1, *(i + 2 for i, gap in enumerate(apart) if gap < limit)]
    assert 2 < len(batch.live) < len(pairs) + 2
    saturated = [pair for pair, gap in zip(pairs, apart, strict=True) if gap >= limit]
    flat = [paid(e, 0.0) for e in played(policy, pool, 0, groups=2, size=4)]
    update = build("dpo", **WHOLE, replayed=99, retire_margin=limit)
    report = run(update, policy, given([flat]), pairs=Remembers(saturated))
    assert report.optimizer_steps == 0
    assert report.skipped == "every pair is past retire_margin: nothing more to learn from them"
