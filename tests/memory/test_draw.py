"""What is drawn for rehearsal: which episodes may be, how many, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest

from envs.component import load
from envs.types import StopReason
from memory.embedding import HashEmbedder
from memory.recall import Failure
from memory.store import MemorySettings, ReplayMemory
from memory.unit_vectors import pack_vectors, unpack_vectors
from tests.memory.making import episode

UNIFORM = load("memory.recall", {"type": "uniform"}, "recall").build()
AGE = load("memory.recall", {"type": "age"}, "recall").build()
SIMILAR = load("memory.recall", {"type": "similar"}, "recall").build()
DRIFT = load("memory.recall", {"type": "drift"}, "recall").build()


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


def failures_of(*episodes):
    """Every step of these episodes, as if they were not in memory."""
    steps = [(e.task, s.observation) for e in episodes for s in e.steps]
    vectors = HashEmbedder(32).embed([observation for _, observation in steps])
    return [Failure(-1, task, vector) for (task, _), vector in zip(steps, vectors, strict=True)]


def test_similar_looks_past_what_may_not_be_drawn(memory, rng):
    """120 steps of this cycle are the very thing asked for; the only one to be had is far down the list."""
    now = [episode("now", rng, cycle=5, length=1)]
    now += [replace(now[0], id=f"now{i}") for i in range(119)]
    memory.add([episode("then", rng, cycle=1, length=4), *now])
    assert [e.id for e in memory.draw(SIMILAR, 4, rng, 5, like=failures_of(*now))] == ["then"]


def test_similar_finds_the_episode_asked_for(memory, rng):
    memory.add([episode(f"{i}", rng, "ab"[i % 2]) for i in range(8)])
    like = [failures_of(e)[1] for e in memory.get(["6", "3"])]
    assert sorted(e.id for e in memory.draw(SIMILAR, 6, rng, 1, like=like)) == ["3", "6"]
    assert [e.id for e in memory.draw(SIMILAR, 3, rng, 1, tasks=["b"], like=like)] == ["3"]


def test_similar_against_brute_force(memory, rng):
    """The order is by rank first (queries take turns), then by cosine; the log tells each episode's best step."""
    memory.add([episode(f"{i}", rng, length=int(rng.integers(1, 5))) for i in range(30)])
    like = failures_of(episode("x", rng, "b", length=2))
    unit = lambda m: m / np.linalg.norm(m, axis=-1, keepdims=True)  # noqa: E731
    best = {}
    for query in like:
        cosines = [
            (float((unit(failure.vector) * unit(query.vector)).sum()), e.id)
            for e in memory.get(memory.ids())
            for failure in failures_of(e)
        ]
        for rank, (cosine, name) in enumerate(sorted(cosines, reverse=True)):
            best[name] = max(best.get(name, (-99, 0)), (-rank, cosine))
    wanted = sorted(best, key=lambda name: best[name], reverse=True)
    drawn = memory.draw(SIMILAR, 1000, rng, 1, like=like)
    assert [e.id for e in drawn] == wanted
    memory.settle(rng)
    assert logged(memory)[0] == (
        1,
        wanted[0],
        "rehearsal",
        f"similar: cosine {best[wanted[0]][1]:.2f} to a failure of b",
    )


def test_failures_are_those_of_the_last_cycle_that_played_a_task(memory, rng):
    """a: cycle 2 failed once. b: cycle 3 failed twice. c: mended in cycle 2. d: only cycle 4, which is not over."""
    told = [("a", 1, False), ("a", 2, False), ("a", 2, True), ("b", 3, False), ("b", 3, False)]
    told += [("c", 1, False), ("c", 2, True), ("d", 4, False)]
    memory.add([episode(f"{i}", rng, task, cycle=c, success=s) for i, (task, c, s) in enumerate(told)])
    broken = episode("broken", rng, "a", cycle=2, success=False, stop=StopReason.ENV_ERROR)
    memory.add([broken])
    ask = lambda most, **kw: [(f.task, f.number) for f in memory.failures(most, rng, 4, **kw)]  # noqa: E731
    assert sorted(ask(9)) == [("a", 2), ("b", 4), ("b", 5)]
    assert sorted(task for task, _ in ask(2)) == ["a", "b"]  # tasks take turns
    assert sorted(ask(9, tasks=["b", "c"])) == [("b", 4), ("b", 5)]
    assert ask(9, tasks=["nobody"]) == []
    steps = failures_of(*memory.get(["1"]))
    vectors = {memory.failures(1, rng, 4, tasks=["a"])[0].vector.tobytes() for _ in range(30)}
    stored = unpack_vectors(pack_vectors(np.stack([f.vector for f in steps])), 32)
    assert vectors == {vector.tobytes() for vector in stored}


def logged(memory):
    return memory._database.execute("SELECT cycle, episode, use, why FROM drawn ORDER BY number").fetchall()


def test_the_log_says_who_was_drawn_and_why_once_settled(memory, database, rng):
    memory.add([episode(f"{i}", rng, cycle=i) for i in range(4)])
    memory.draw(AGE, 6, rng, 4)
    memory.draws.note(4, "wrong pictures", [("0", "similar: cosine 1.00"), ("0", "told only once")])
    assert memory.draws.counts() == {"age": 2}
    assert logged(memory) == []
    for _ in range(2):
        memory.settle(rng)
        assert memory.draws.counts() == {}
        assert logged(memory) == [
            (4, "0", "rehearsal", "age: unseen since cycle 0"),
            (4, "1", "rehearsal", "age: unseen since cycle 1"),
            (4, "0", "wrong pictures", "similar: cosine 1.00"),
        ]


def test_a_repeated_cycle_is_logged_once(memory, rng):
    """Killed before the commit, then killed after it and rolled back by hand to the cycle before."""
    memory.add([episode(f"{i}", rng, cycle=i) for i in range(4)])
    for _ in range(3):
        memory.draw(AGE, 6, rng, 4)
        memory.forget_after(3)
        assert logged(memory) == []
        memory.draw(UNIFORM, 6, np.random.default_rng(0), 4)
        memory.settle(rng)
        assert len(logged(memory)) == 2


def test_drift_is_known_at_once_kept_by_settle_and_only_grows(memory, database, rng):
    memory.add([episode(f"{i}", rng) for i in range(3)])
    memory.note_drift({"1": 0.5, "2": 0.25, "who": 9.0})
    assert [e.id for e in memory.draw(DRIFT, 3, rng, 1)] == ["1"]
    memory.note_drift({"1": 0.125, "2": 0.75})
    with pytest.raises(KeyError), database.transaction():
        raise KeyError
    assert [e.id for e in memory.draw(DRIFT, 3, rng, 1)] == ["2"]
    memory.settle(rng)
    again = ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=6))
    assert database.execute("SELECT drift FROM episodes").fetchall() == [(0,), (0.5,), (0.75,)]
    for opened in (again, memory):
        assert [e.id for e in opened.draw(DRIFT, 6, rng, 1)][:1] == ["2"]
    memory.note_drift({"1": 8.0})
    memory.forget_after(0)
    assert [e.id for e in memory.draw(DRIFT, 3, rng, 1)] == ["2"]
