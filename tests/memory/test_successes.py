"""Which successes are most like what is seen: by hand, against brute force, and the same all through a cycle."""

import numpy as np
import pytest

from envs.preface import FRONT
from envs.types import Observation, StopReason
from memory import successes
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.reembedding import Reembedding
from memory.store import ReplayMemory
from memory.successes import Query
from tests.memory.making import action, episode, step
from tests.memory.test_novelty import Angles


def of(name, *degrees, said="go forward", readable=True, **changes):
    steps = tuple(step(Observation(str(d)), action=action(said, readable=readable)) for d in degrees)
    return episode(name, np.random.default_rng(0), **{"steps": steps, "success": True, "seed": 0, **changes})


def nearest(memory, *degrees, k=2, cycle=1, task="goto", seed=1, usable=lambda said: True):
    queries = [Query(task, seed, Observation(str(d))) for d in degrees]
    return [[(p.episode, p.step) for p in row] for row in memory.successes(cycle, usable).nearest(queries, k)]


@pytest.fixture
def memory(tmp_path):
    with Database(tmp_path / "run.db") as database:
        yield ReplayMemory(database, Angles())


def test_by_hand(memory):
    """0, 60 and 180 degrees are remembered; from 50 their cosines are .64, .98 and -.64."""
    memory.add([of("a", 0, 60), of("b", 180)])
    assert nearest(memory, 50, 170) == [[("a", 1), ("a", 0)], [("b", 0), ("a", 1)]]
    assert nearest(memory, 50, k=9) == [[("a", 1), ("a", 0), ("b", 0)]]


def test_only_readable_steps_of_earlier_successes_of_the_regime_and_of_another_seed(memory):
    memory.add([
        of("other task", 10, task="cards"),
        of("failed", 10, success=False),
        of("broken", 10, stop=StopReason.ENV_ERROR),
        of("of this cycle", 10, cycle=1),
        of("same seed", 10, seed=1),
        of("unreadable", 10, readable=False),
        of("unusable", 10, said="<end>"),
        of("empty"),
        of("right", 100),
    ])  # fmt: skip
    assert nearest(memory, 10, usable=lambda said: said != "<end>") == [[("right", 0)]]
    assert nearest(memory, 10, task="unheard of") == [[]]
    assert nearest(memory, 10, cycle=0) == [[]]
    assert nearest(memory) == []


def test_of_equals_the_first_remembered_is_taken(memory):
    """Not by id: z came first. What differs by less than the last bits of an embedding is equal."""
    memory.add([of("z", 30), of("a", 30, 30), of("b", 30.00001)])
    assert nearest(memory, 30, k=3) == [[("z", 0), ("a", 0), ("a", 1)]]


def test_it_stays_as_it_was_when_the_cycle_began(memory):
    memory.add([of("a", 0), of("b", 60)])
    kept = memory.successes(1, lambda said: True)
    asked = [Query("goto", 1, Observation("50"))]
    before = kept.nearest(asked, 2)
    memory.add([of("c", 50, cycle=1)])
    assert kept.nearest(asked, 2) == before
    assert memory.successes(1, lambda said: True).nearest(asked, 2) == before
    assert [p.episode for p in memory.successes(2, lambda said: True).nearest(asked, 1)[0]] == ["c"]


def test_the_oldest_are_left_out_of_too_many(memory, monkeypatch):
    monkeypatch.setattr(successes, "MOST", 4)
    memory.add([of("a", 0), of("b", 10, 11), of("c", 20, 21)])
    assert nearest(memory, 0, k=9) == [[("b", 0), ("b", 1), ("c", 0), ("c", 1)]]


def test_no_copy_of_all_vectors_in_float64_is_made(memory, monkeypatch):
    """Lengths are summed in float64: of one episode's steps at a time, and of the queries."""
    seen = []
    inner = successes.unit
    monkeypatch.setattr(successes, "unit", lambda vectors: (seen.append(len(vectors)), inner(vectors))[1])
    memory.add([of(f"e{i}", *range(i, i + 3)) for i in range(5)])
    assert len(nearest(memory, 1, 2)) == 2
    assert seen == [*[3] * 5, 2]


def test_against_brute_force(database):
    """300 episodes of few colours and words, so that many are equal; all is done again in plain Python."""
    rng = np.random.default_rng(1)
    memory = ReplayMemory(database, HashEmbedder(32))
    colours = rng.integers(0, 256, (6, 3), dtype=np.uint8)

    def shown():
        image = np.broadcast_to(colours[rng.integers(6)], (8, 8, 3)).copy()
        return Observation(f"<image>say {'abc'[rng.integers(3)]}", (image,))

    episodes = [
        episode(
            f"e{rng.integers(10**9)}", rng, task="xy"[i % 2], seed=int(rng.integers(4)), success=bool(rng.integers(2)),
            cycle=int(rng.integers(3)),
            steps=tuple(step(shown(), action=action(readable=bool(rng.integers(4)))) for _ in range(rng.integers(5))),
        )
        for i in range(300)
    ]  # fmt: skip
    memory.add(episodes)
    queries = [Query("xy"[i % 2], i % 4, shown()) for i in range(40)]
    kept = memory.successes(2, lambda said: True)
    assert sum(map(len, kept.nearest(queries, 3))) == 120
    embed = HashEmbedder(32).embed
    for query, found in zip(queries, kept.nearest(queries, 3), strict=True):
        asked = embed([query.observation])[0].astype(np.float64)
        wanted = []
        for order, e in enumerate(episodes):
            for place, s in enumerate(e.steps):
                if e.task == query.task and e.seed != query.seed and e.success and e.cycle < 2 and s.action.readable:
                    there = embed([s.observation])[0].astype(np.float64)
                    cosine = asked @ there / np.linalg.norm(asked) / np.linalg.norm(there)
                    wanted.append((-round(float(cosine), 4), order, place, e.id))
        assert [(p.episode, p.step) for p in found] == [(name, place) for _, _, place, name in sorted(wanted)[:3]]


def test_vectors_are_of_what_the_world_showed_whatever_stood_in_front(database):
    """When it is remembered, and when it is embedded anew."""
    rng = np.random.default_rng(0)
    bare = episode("a", rng)
    seen = Observation("<image>Before: <image>Go to the a thing.", (np.zeros((4, 4, 3), np.uint8),))

    def fronted(s):
        images = (*seen.images, *s.observation.images)
        info = {FRONT: {"text": len("<image>Before: "), "pictures": 1, "episodes": ["x"]}}
        return step(Observation(seen.text, images), info=info)

    memory = ReplayMemory(database, HashEmbedder(32))
    memory.add([bare, episode("b", rng, steps=tuple(map(fronted, bare.steps)))])

    def vectors():
        return [data for (data,) in database.execute("SELECT data FROM vectors ORDER BY episode")]

    assert vectors()[0] == vectors()[1]
    again = Reembedding(database, HashEmbedder(16))
    list(again.work())
    again.switch()
    assert vectors()[0] == vectors()[1]
