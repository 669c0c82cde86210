"""What goes into the memory comes out again, and what is evicted is gone everywhere."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.component import UserError, load
from envs.types import Observation, StopReason
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.preferences import PreferencePair, pairs_from_episodes
from memory.store import MemorySettings, ReplayMemory
from tests.memory.making import action, assert_consistent, bits, episode, picture, step

AGE = load("memory.recall", {"type": "age"}, "recall").build()


def counted(database, table):
    return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_episode_comes_back_to_the_last_bit(memory, rng):
    odd = step(
        Observation("two <image> and <image>", (picture(rng), rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))),
        choices=None,
        action=action("?! \N{SNOWMAN}", [1, 2.5, "x", None, True], mode="open", readable=False),
        reward=float("nan"),
        cost=-0.0,
        truncated=True,
        info={"a": 1, "b": 0.1, "c": [1, {"d": None}], "nan": float("inf"), "word": "\N{SNOWMAN}"},
    )
    silent = step(
        Observation("no pictures"),
        choices=(),
        action=action("", 1e-300, tokens=np.empty(0, np.int64), logprobs=np.empty(0, np.float32)),
        reward=5e-324,
    )
    strange = step(
        Observation("", (np.zeros((0, 3, 3), np.uint8),)),
        action=action(logprobs=np.array([np.nan, -np.inf, -0.0], np.float32), tokens=np.array([-1, 2**62, 0])),
    )
    first = episode("first", rng, seed=2**62, cycle=3)
    second = replace(first, id="second", steps=(odd, silent, strange), stop=StopReason.ENV_ERROR, success=False)
    empty = replace(first, id="empty", steps=(), stop=StopReason.TRUNCATED)
    written = [first, second, empty]
    assert memory.add(written) == 3
    for before, after in zip(written, memory.get(["first", "second", "empty"]), strict=True):
        assert bits(before) == bits(after)


@settings(max_examples=60, deadline=None)
@given(
    command=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
)
def test_commands_keep_value_and_type(tmp_path_factory, command):
    from memory.codec import pack_action, unpack_action

    assert bits(unpack_action(*pack_action(action(command=command))).command) == bits(command)


def test_numpy_scalars_and_what_json_cannot_hold(memory, rng):
    info = {"n": np.int64(3), "x": np.float32(0.5), "flag": np.bool_(True), "who": object(), 7: "key", "t": (1, 2)}
    steps = (
        step(Observation("a"), info=info, action=action(command=np.int64(4))),
        step(Observation("b"), action=action(command=np.array([0.5, 1.5]))),
        step(Observation("c"), action=action(command=(1, "a"))),
    )
    memory.add([episode("e", rng, steps=steps)])
    read = memory.get(["e"])[0].steps
    assert read[0].info == {"n": 3, "x": 0.5, "flag": True, "t": [1, 2], "_dropped": ["7", "who"]}
    assert [s.action.command for s in read] == [4, [0.5, 1.5], [1, "a"]]


def test_what_cannot_be_stored_is_refused_whole(database, memory, rng):
    for wrong, message in (
        (action(command={1, 2}), "action.command is set"),
        (action(tokens=np.zeros(1, np.int32)), "tokens must be int64"),
        (action(logprobs=np.zeros(1, np.float64)), "logprobs float32"),
    ):
        with pytest.raises(TypeError, match=message):
            memory.add([episode("bad", rng, steps=(step(Observation("", (picture(rng),)), action=wrong),))])
    with pytest.raises(ValueError, match="uint8"):
        memory.add([episode("bad", rng, final=Observation("<image>", (np.zeros((4, 4, 3)),)))])
    with pytest.raises(ValueError, match="vectors must be finite"):
        memory.add([episode("bad", rng, length=2)], vectors=[np.full((2, 32), np.nan, np.float32)])
    assert memory.stats().episodes == 0
    assert_consistent(database, memory)


def test_adding_twice_adds_once(database, memory, rng):
    one, two = episode("one", rng), episode("two", rng)
    assert memory.add([one, one]) == 1
    assert memory.add([one, two]) == 1
    assert memory.ids() == ["one", "two"]
    assert_consistent(database, memory)


def test_a_picture_is_stored_once_and_goes_with_its_last_use(database, memory, rng):
    shared = Observation("<image>", (picture(rng),))
    a = episode("a", rng, cycle=1, steps=(step(shared), step(shared)), final=shared)
    b = episode("b", rng, cycle=2, steps=(step(Observation("<image>", (shared.images[0].copy(),))),), final=shared)
    memory.add([a, b])
    assert counted(database, "pictures") == 1
    memory.forget_after(1)
    assert bits(memory.get(["a"])) == bits([a])
    assert_consistent(database, memory)
    memory.forget_after(0)
    assert counted(database, "pictures") == counted(database, "picture_data") == 0


def test_noise_is_stored_raw_and_flat_pictures_small(database, memory, rng):
    noise = Observation("<image>", (rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),))
    flat = Observation("<image>", (picture(rng, 64),))
    memory.add([episode("e", rng, steps=(step(noise), step(flat)), final=flat)])
    sizes = [n for (n,) in database.execute("SELECT length(data) FROM picture_data ORDER BY number")]
    assert sizes[0] == 64 * 64 * 3
    assert sizes[1] < 1000
    assert bits(memory.get(["e"])[0].steps[0].observation) == bits(noise)


def test_unknown_id(memory):
    with pytest.raises(KeyError, match="no episode 'nobody'"):
        memory.get(["nobody"])


def test_ids_by_task_and_cycle(memory, rng):
    memory.add([episode(f"{task}{cycle}", rng, task, cycle=cycle) for cycle in (1, 2, 3) for task in "ab"])
    assert memory.ids() == ["a1", "b1", "a2", "b2", "a3", "b3"]
    assert memory.ids(task="b", before_cycle=3) == ["b1", "b2"]
    assert memory.ids(before_cycle=1) == []


def test_settle_keeps_capacity_and_every_stratum(database, memory, rng):
    many = [episode(f"a{i}", rng, "a", success=i != 7) for i in range(20)] + [episode("b", rng, "b")]
    memory.add(many)
    assert memory.settle(rng) == 15
    left = memory.ids()
    assert len(left) == 6
    assert {"a7", "b"} <= set(left)
    assert_consistent(database, memory)
    assert memory.settle(rng) == 0


def test_settle_joins_the_commit(database, memory, rng):
    memory.add([episode(f"{i}", rng) for i in range(9)])
    with pytest.raises(KeyError), database.transaction():  # noqa: PT012 - the block is what fails
        assert memory.settle(rng) == 3
        assert memory.stats().episodes == 6
        assert len(memory.search(np.ones(32), 100)) == 18
        raise KeyError
    assert memory.stats().episodes == 9
    assert_consistent(database, memory)


def test_forget_after_a_kill_makes_the_repeated_cycle_the_same(tmp_path, rng):
    """Killed in cycle 2 after drawing and adding, and never killed: the same memory, the same draws."""
    past = [episode(f"past{i}", rng, "ab"[i % 2], cycle=i % 2) for i in range(10)]
    fresh = [episode(f"fresh{i}", rng, "a", cycle=2, success=i > 1) for i in range(5)]
    found = []
    for killed in (False, True):
        path = tmp_path / f"{killed}.db"
        for attempt in range(1 + killed):
            with Database(path) as database:
                memory = ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=8))
                if not memory.ids():
                    memory.add(past)
                    memory.settle(np.random.default_rng(1))
                else:
                    memory.forget_after(1)
                last = not killed or attempt == 1
                drawn = [e.id for s in (1, 2) for e in memory.draw(AGE, 9, np.random.default_rng(s), 2)]
                memory.add(fresh if last else fresh[:3])
                if last:
                    memory.settle(np.random.default_rng(3))
                    memory.add([episode("later", np.random.default_rng(4), "a", cycle=3)])
                    more = [e.id for e in memory.draw(AGE, 12, np.random.default_rng(5), 4)]
                    near = memory.search(past[1].steps[0].observation, 5)
                    found.append((drawn, memory.ids(), more, near))
                    assert_consistent(database, memory)
    assert found[0] == found[1]


def test_forget_after_forgets_pairs_too(database, memory, rng):
    memory.add([episode("a", rng, cycle=1), episode("b", rng, cycle=2)])
    pair = PreferencePair(
        Observation("<image>", (picture(rng),)), None, action("x"), action("y"), 1.0, "r", None, "a", 2
    )
    memory.add_pairs([pair, replace(pair, cycle=1)])
    assert memory.forget_after(1) == 1
    assert memory.ids() == ["a"]
    assert [p.cycle for p in memory.pairs()] == [1]
    assert_consistent(database, memory)


def test_pairs_come_back_to_the_last_bit_and_once(database, memory, rng):
    shown = Observation("<image>which?", (picture(rng),))
    scored = PreferencePair(
        shown, ("x", "y"), action("x"), action("y", np.nan), 0.1, "returns", (-0.1, -1 / 3), "goto", 4
    )
    bare = replace(scored, choices=None, reference_logprobs=None, margin=2.0, cycle=5, task="other")
    assert memory.add_pairs([scored, bare, scored]) == 2
    assert memory.add_pairs([replace(scored, reference_logprobs=None)]) == 0
    assert bits(list(memory.pairs())) == bits([scored, bare])
    assert bits(list(memory.pairs(tasks=["goto"]))) == bits([scored])
    assert bits(list(memory.pairs(before_cycle=5))) == bits([scored])
    with pytest.raises(ValueError, match="margin is nan"):
        memory.add_pairs([replace(scored, margin=float("nan"))])
    assert_consistent(database, memory)


def test_pairs_of_episodes_can_be_kept(memory, rng):
    start = Observation("<image>", (picture(rng),))
    good = episode("g", rng, steps=(step(start, action=action("go", 1), reward=1.0),))
    bad = episode("b", rng, steps=(step(start, action=action("no", 0)),))
    pairs = pairs_from_episodes([bad, good])
    memory.add_pairs(pairs)
    assert bits(list(memory.pairs())) == bits(pairs)


def test_search_finds_the_very_step(memory, rng):
    many = [episode(f"{i}", rng, length=5) for i in range(8)]
    memory.add(many)
    for wanted in (0, 3, 7):
        name, place, similarity = memory.search(many[wanted].steps[2].observation, 3)[0]
        assert (name, place) == (f"{wanted}", 2)
        assert similarity == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="not finite"):
        memory.search(np.full(32, np.nan), 3)


def test_another_embedder_is_refused(database, memory, rng):
    memory.add([episode("e", rng)])
    with pytest.raises(UserError, match=r"memory.embedder is hash-1/64, but .* holds vectors of hash-1/32"):
        ReplayMemory(database, HashEmbedder(64))


def test_no_such_retention(database):
    with pytest.raises(UserError, match=r"no retention 'balancd'. Did you mean 'balanced'"):
        ReplayMemory(database, HashEmbedder(32), MemorySettings(retention={"type": "balancd"}))


def test_damaged_picture_is_found(database, memory, rng):
    """Number 1 is stored raw: only its content tells. Number 2 is compressed."""
    noise = Observation("<image>", (rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),))
    memory.add([episode("e", rng, steps=(step(noise),))])
    for number in (1, 2):
        (data,) = database.execute("SELECT data FROM picture_data WHERE number = ?", (number,)).fetchone()
        flipped = bytearray(data)
        flipped[len(flipped) // 2] ^= 4
        database.execute("UPDATE picture_data SET data = ? WHERE number = ?", (bytes(flipped), number))
        with pytest.raises(UserError, match=f"picture {number} "):
            memory.get(["e"])
        database.execute("UPDATE picture_data SET data = ? WHERE number = ?", (data, number))
    assert len(memory.get(["e"])) == 1
    database.execute("DELETE FROM picture_data WHERE number = 1")
    with pytest.raises(UserError, match="picture 1 is missing"):
        memory.get(["e"])


def test_returns_of_the_catalogue(database, memory, rng):
    memory.add([episode("e", rng, success=True), episode("f", rng, success=False)])
    assert [struct.unpack("<d", g)[0] for (g,) in database.execute("SELECT gain FROM episodes")] == [1.0, 0.0]
