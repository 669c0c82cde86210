"""What is drawn for rehearsal: which episodes may be, how many, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest

from envs.component import load
from envs.types import StopReason
from memory.embedding import HashEmbedder
from memory.store import MemorySettings, ReplayMemory
from tests.memory.making import episode

UNIFORM = load("memory.recall", {"type": "uniform"}, "recall").build()
AGE = load("memory.recall", {"type": "age"}, "recall").build()


def test_draw_filters(memory, rng):
    broken = episode("broken", rng, "a", cycle=1, stop=StopReason.ENV_ERROR)
    empty = episode("empty", rng, "a", cycle=1, steps=())
    memory.add([episode(f"{t}{c}", rng, t, cycle=c) for t in "ab" for c in (1, 2, 3)] + [broken, empty])
    draw = lambda **kw: sorted(e.id for e in memory.draw(UNIFORM, 1000, rng, **kw))  # noqa: E731
    assert draw(before_cycle=3) == ["a1", "a2", "b1", "b2"]
    assert draw(before_cycle=9, tasks=["b"]) == ["b1", "b2", "b3"]
    assert draw(before_cycle=9, tasks=["nobody"]) == []
    assert draw(before_cycle=1) == []


def test_draw_counts_steps_and_is_seeded(memory, rng):
    memory.add([episode(f"{i}", rng, length=4) for i in range(10)])
    drawn = [[e.id for e in memory.draw(UNIFORM, 9, np.random.default_rng(3), 1)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == len(set(drawn[0])) == 3


def test_rehearsed_episodes_are_no_longer_the_longest_unseen(memory, database, rng):
    memory.add([episode(f"{i}", rng, cycle=i) for i in range(4)])
    assert [e.id for e in memory.draw(AGE, 6, rng, 4)] == ["0", "1"]
    memory.settle(rng)
    memory.settle(rng)  # counts it once all the same
    assert database.execute("SELECT seen, uses FROM episodes").fetchall() == [(4, 1), (4, 1), (2, 0), (3, 0)]
    again = ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=6))
    for opened in (again, memory):
        assert [e.id for e in opened.draw(AGE, 6, rng, 5)] == ["2", "3"]


def test_rehearsal_that_was_not_committed_is_forgotten(memory, rng):
    memory.add([episode(f"{i}", rng, cycle=i) for i in range(4)])
    for _ in range(2):
        assert [e.id for e in memory.draw(AGE, 6, rng, 4)] == ["0", "1"]
        assert [e.id for e in memory.draw(AGE, 6, rng, 4)] == ["2", "3"]
        memory.forget_after(3)


def test_a_rollback_elsewhere_does_not_undo_what_was_rehearsed(memory, database, rng):
    memory.add([episode(f"{i}", rng, cycle=i) for i in range(4)])
    assert [e.id for e in memory.draw(AGE, 6, rng, 4)] == ["0", "1"]
    with pytest.raises(KeyError), database.transaction():
        raise KeyError
    assert [e.id for e in memory.draw(AGE, 6, rng, 4)] == ["2", "3"]


def test_similar_looks_past_what_may_not_be_drawn(memory, rng):
    """120 steps of this cycle are the very thing asked for; the only one to be had is far down the list."""
    now = [episode("now", rng, cycle=5, length=1)]
    now += [replace(now[0], id=f"now{i}") for i in range(119)]
    memory.add([episode("then", rng, cycle=1, length=4), *now])
    similar = load("memory.recall", {"type": "similar"}, "recall").build()
    failures = [s.observation for e in now for s in e.steps]
    assert [e.id for e in memory.draw(similar, 4, rng, 5, like=failures)] == ["then"]


def test_similar_finds_the_episode_asked_for(memory, rng):
    memory.add([episode(f"{i}", rng, "ab"[i % 2]) for i in range(8)])
    similar = load("memory.recall", {"type": "similar"}, "recall").build()
    wanted = memory.get(["6", "3"])
    like = [e.steps[1].observation for e in wanted]
    assert sorted(e.id for e in memory.draw(similar, 6, rng, 1, like=like)) == ["3", "6"]
    assert [e.id for e in memory.draw(similar, 3, rng, 1, tasks=["b"], like=like)] == ["3"]
