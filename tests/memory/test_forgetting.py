"""Forgotten for good: no byte of it is left in any file of the store, and nothing else is touched."""

import dataclasses

import numpy as np
import pytest

from envs.preface import FRONT
from envs.types import Observation
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.forgetting import Wanted, forget, going
from memory.images import content_key
from memory.parts import open_parts
from memory.preferences import make_pair
from memory.schema import LIVED
from memory.store import ReplayMemory
from memory.unit_vectors import unit
from tests.memory.making import assert_consistent, bits, episode, step

MARKER = "Mrs Zaubertrank's kitchen"


def noise(rng, size=48):
    """A picture too noisy to be compressed: its very bytes stand in the file. Uint8 [size, size, 3]."""
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def private(rng, **changes):
    """An episode with a marker in every text, and pictures that can be looked for."""
    seen = [Observation(f"<image>{MARKER} {i}", (noise(rng),)) for i in range(3)]
    steps = tuple(step(o, info={"note": MARKER}) for o in seen[:2])
    return dataclasses.replace(episode("private", rng, "home", **({"cycle": 2} | changes)), steps=steps, final=seen[2])


def pair_of(a, b, source="parting/returns"):
    return make_pair(
        a.steps[0], dataclasses.replace(b.steps[0], observation=a.steps[0].observation), 1.0, source, (a, b)
    )


def judge(database, key, source, episodes, task="goto", cycle=1):
    database.execute(
        "INSERT INTO judgements (key, source, task, cycle, episodes, margin) VALUES (?, ?, ?, ?, ?, 1)",
        (key, source, task, cycle, episodes),
    )


def draw(database, cycle, name):
    database.execute("INSERT INTO drawn (cycle, episode, use, why) VALUES (?, ?, 'rehearsal', 'by lot')", (cycle, name))


def raw(folder):
    """Every byte that any file of the store holds."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.fixture
def lived(database, memory, rng):
    """Two episodes of goto in cycle 1, one at home in cycle 2; pairs, judgements and a rehearsal of them."""
    a, b, home = episode("a", rng, cycle=1), episode("b", rng, cycle=1), private(rng)
    memory.add([a, b, home])
    memory.add_pairs([pair_of(a, b), pair_of(home, home, "steps/recorded")])
    judge(database, b"1", "returns", '["a", "b"]')
    judge(database, b"2", "recorded", '["private"]', "home", 2)
    draw(database, 3, "private")
    memory.search(np.ones(32), 1)
    memory.save_index(always=True)
    return a, b, home


def test_no_byte_of_it_is_left_in_any_file(database, memory, lived, tmp_path):
    """Not of its texts, its pictures and their keys, nor of its vectors and those in the index."""
    home = lived[2]
    seen = [s.observation for s in home.steps]
    images = [image for o in (*seen, home.final) for image in o.images]
    pieces = [image.tobytes()[at : at + 16] for image in images for at in range(0, image.size, 1000)]
    stored = unit(HashEmbedder(32).embed(seen)).astype(np.float16)
    parts = [MARKER.encode(), *map(content_key, images), *(v.tobytes() for v in (*stored, *unit(stored))), *pieces]
    before = raw(tmp_path)
    # so that the search below can fail; a piece may lie across two of SQLite's pages
    assert all(part in before for part in parts[: -len(pieces)])
    assert sum(piece in before for piece in pieces) > 0.9 * len(pieces)
    others = memory.get(["a", "b"])

    opened = open_parts(database)
    forget(opened, going(opened, Wanted(task="home")))
    left = raw(tmp_path)
    assert not any(part in left for part in parts)
    assert b"private" in left  # the id in `drawn` stays: it says who learned from it
    fresh = ReplayMemory(database, HashEmbedder(32))
    assert bits(fresh.get(["a", "b"])) == bits(others)
    assert_consistent(database, fresh)
    database.close()
    assert not any(part in raw(tmp_path) for part in parts)


def test_the_dry_list_changes_nothing_and_says_what_goes(database, memory, lived):
    opened = open_parts(database)
    what = going(opened, Wanted(task="home"))
    assert (what.names, what.tasks, what.sources) == (
        ("private",), {"home": 1}, ({"steps/recorded": 1}, {"recorded": 1})
    )  # fmt: skip
    assert what.pictures == 3
    assert what.taught == {2, 3}  # played and paired, rehearsed
    assert memory.ids() == ["a", "b", "private"]
    assert len(list(memory.pairs())) == 2
    assert_consistent(database, memory)


def test_what_was_merely_lived_through_taught_no_cycle_until_it_was_rehearsed(database, memory, rng):
    """It bears the number of the cycle that did not see it; 5 rehearses it. The control: what cycle 3 played."""
    memory.add([episode("lived", rng, "life", cycle=3, group=LIVED), episode("played", rng, "life", cycle=3)])
    opened = open_parts(database)
    assert going(opened, Wanted(id="lived")).taught == set()
    assert going(opened, Wanted(id="played")).taught == {3}
    database.execute("UPDATE episodes SET seen = 5, uses = 1 WHERE id = 'lived'")
    assert going(opened, Wanted(id="lived")).taught == {5}


@pytest.mark.parametrize(
    ("wanted", "episodes", "pairs", "judgements"),
    [
        (Wanted(task="goto"), ("a", "b"), 1, 1),
        (Wanted(before=2), ("a", "b"), 1, 1),
        (Wanted(before=3), ("a", "b", "private"), 2, 2),
        (Wanted(task="home", before=2), (), 0, 0),
        (Wanted(id="b"), ("b",), 1, 1),
        (Wanted(id="b", task="home"), (), 0, 0),
        (Wanted(source="recorded"), (), 1, 1),
        (Wanted(source="steps/recorded"), (), 1, 0),
        (Wanted(source="corded"), (), 0, 0),
        (Wanted(source="returns", before=1), (), 0, 0),
        (Wanted(source="returns", id="a"), (), 1, 1),
        (Wanted(id="nobody"), (), 0, 0),
    ],
)
def test_what_is_meant(database, lived, wanted, episodes, pairs, judgements):
    """Worked out by hand from `lived`."""
    what = going(open_parts(database), wanted)
    assert (what.names, len(what.pairs), len(what.judgements)) == (episodes, pairs, judgements)


def test_what_is_left_of_an_episode_that_was_evicted_goes_too(database, memory, lived, tmp_path):
    """Its pairs, and the bytes that eviction leaves in free pages."""
    database.execute("PRAGMA secure_delete = OFF")  # some builds have it on
    opened = open_parts(database)
    with database.transaction():
        opened.episodes.delete([3])
        opened.vectors.drop([(3, 2)])
    assert raw(tmp_path).count(MARKER.encode()) > 10
    what = going(opened, Wanted(id="private"))
    assert (what.names, len(what.pairs), what.taught) == ((), 1, {2, 3})
    forget(opened, what)
    assert [pair.source for pair in ReplayMemory(database, HashEmbedder(32)).pairs()] == ["parting/returns"]
    assert MARKER.encode() not in raw(tmp_path)


def test_an_old_pair_that_does_not_say_whose_it_is_goes_with_what_it_shows(database, memory, lived):
    database.execute("UPDATE pairs SET episodes = '[]'")
    what = going(open_parts(database), Wanted(id="private"))
    assert what.sources[0] == {"steps/recorded": 1}


def test_a_shared_picture_stays_as_long_as_another_shows_it(database, memory, rng):
    image = noise(rng)
    shared = tuple(
        dataclasses.replace(episode(name, rng, length=0), final=Observation("<image>x", (image,))) for name in "ab"
    )
    memory.add(shared)
    opened = open_parts(database)
    what = going(opened, Wanted(id="a"))
    assert what.pictures == 0
    forget(opened, what)
    assert bits(ReplayMemory(database, HashEmbedder(32)).get(["b"])) == bits([shared[1]])
    assert going(opened, Wanted(id="b")).pictures == 1


def test_killed_before_the_file_was_written_anew_a_second_time_ends_it(database, memory, lived, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(self, sql, values=(), real=Database.execute):
        if sql == "VACUUM":
            raise Killed
        return real(self, sql, values)

    database.execute("PRAGMA secure_delete = OFF")
    opened = open_parts(database)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "execute", killed)
        with pytest.raises(Killed):
            forget(opened, going(opened, Wanted(task="home")))
    database.close()
    assert not list(tmp_path.glob("*.index*"))
    assert MARKER.encode() not in raw(tmp_path), "what is deleted is overwritten at once"
    with Database(tmp_path / "run.db") as again:
        opened = open_parts(again)
        assert going(opened, Wanted(task="home")).nothing
        forget(opened, going(opened, Wanted(task="home")))
        assert MARKER.encode() not in raw(tmp_path)


def test_a_pair_met_again_names_all_whose_answers_it_is(database, memory, rng):
    a, b = episode("a", rng), episode("b", rng)
    pair = pair_of(a, b)
    assert memory.add_pairs([pair, dataclasses.replace(pair, episodes=("b", "c"))]) == 1
    assert next(memory.pairs()).episodes == ("a", "b", "c")
    assert len(going(open_parts(database), Wanted(id="c")).pairs) == 1


@pytest.mark.parametrize("wanted", [Wanted(before=3), Wanted(id="private")])
def test_an_episode_that_was_shown_it_goes_with_it(database, memory, lived, rng, tmp_path, wanted):
    """Its prompt holds a copy. What shows another one stays, and so does info that JSON calls no number.

    What shows one that was evicted goes only where all that is of before some cycle goes: nobody knows of when it was.
    """
    home = lived[2]

    def shown(name, number, *episodes):
        seen = home.steps[0].observation if "private" in episodes else Observation("fine")
        front = {"text": 3, "pictures": 0, "episodes": list(episodes)}
        return episode(name, rng, cycle=number, steps=(step(seen, info={FRONT: front, "x": float("nan")}),))

    memory.add([
        shown("copy", 4, "a", "private"), shown("free", 4, "later"), shown("later", 3), shown("old", 5, "later", "gone")
    ])  # fmt: skip
    opened = open_parts(database)
    what = going(opened, wanted)
    assert what.names == (("a", "b", "private", "copy", "old") if wanted.id is None else ("private", "copy"))
    assert {2, 4} <= what.taught
    forget(opened, what)
    assert MARKER.encode() not in raw(tmp_path)
    fresh = ReplayMemory(database, HashEmbedder(32))
    assert fresh.ids() == (["free", "later"] if wanted.id is None else ["a", "b", "free", "later", "old"])


@pytest.mark.parametrize("wanted", [Wanted(before=1), Wanted(id="private")])
def test_steps_that_belong_to_no_episode_are_no_hindrance(database, memory, lived, rng, wanted):
    front = {"text": 3, "pictures": 0, "episodes": ["private", "gone"]}
    memory.add([episode("copy", rng, cycle=4, steps=(step(Observation("fine"), info={FRONT: front}),))])
    database.execute("UPDATE steps SET number = 77 << 20 WHERE number = 4 << 20")
    assert "copy" not in going(open_parts(database), wanted).names
