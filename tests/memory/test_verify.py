"""Damage is found, said, and mended or refused. Each case damages a sound store by hand in one place."""

import numpy as np
import pytest

from envs.types import Observation
from memory.database import DamagedError, Database
from memory.embedding import HashEmbedder
from memory.judgements import Judgement
from memory.parts import open_parts
from memory.preferences import PreferencePair
from memory.repair import rebuild, repair
from memory.store import ReplayMemory
from memory.verify import verify
from tests.memory.making import action, assert_consistent, bits, episode, picture


@pytest.fixture
def lived(database, memory, rng):
    """Six episodes, one pair, an index file."""
    episodes = [episode(name, rng, length=2 + place % 2) for place, name in enumerate("abcdef")]
    memory.add(episodes)
    seen = Observation("<image>which?", (picture(rng),))
    memory.add_pairs([PreferencePair(seen, None, action("x"), action("y"), 1.0, "r", None, "goto", 0)])
    memory.search(np.ones(32), 1)
    memory.save_index(always=True)
    return episodes


def test_a_sound_store_has_no_findings(database, lived):
    health = verify(open_parts(database))
    assert health.sound
    assert health.looked_at == {"episodes": 6, "steps": 15, "pairs": 1, "pictures": 22}


def test_an_empty_store_is_sound(database, memory):
    assert verify(open_parts(database)).sound


FIRST_PICTURE = "(SELECT min(number) FROM pictures)"
SPOILT = [
    # what is done by hand, what of `a` is said
    (f"DELETE FROM picture_data WHERE number = {FIRST_PICTURE}", "picture 1 is missing"),
    (f"DELETE FROM pictures WHERE number = {FIRST_PICTURE}", "picture 1 is missing"),
    ("UPDATE picture_data SET data = x'00', codec = 1 WHERE number = 1", "picture 1 does not decode"),
    ("UPDATE picture_data SET shape = x'00' WHERE number = 1", "picture 1 does not decode"),
    ("UPDATE pictures SET key = zeroblob(16) WHERE number = 1", "picture 1 is not what was stored"),
    ("UPDATE steps SET pictures = x'0102' WHERE number = 1 << 20", "its step 0 is damaged"),
    ("UPDATE steps SET info = '{' WHERE number = 1 << 20", "its step 0 is damaged"),
    ("UPDATE steps SET logprobs = x'01' WHERE number = 1 << 20", "its step 0 is damaged"),
    ("DELETE FROM steps WHERE number = 1 << 20", "its step 0 is missing"),
    ("DELETE FROM steps WHERE number = (1 << 20) + 1", "it has 1 steps of 2"),
    ("UPDATE episodes SET final_pictures = x'01' WHERE number = 1", "its last sight is damaged"),
    ("UPDATE episodes SET stop = 'bored' WHERE number = 1", "its row is damaged"),
    ("DELETE FROM vectors WHERE episode = 1", "its vectors are missing"),
    ("UPDATE vectors SET data = substr(data, 3) WHERE episode = 1", "its vectors are cut short"),
    (f"UPDATE vectors SET data = x'{'007e' * 64}' WHERE episode = 1", "a vector of it is not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "said"), SPOILT, ids=[said for _, said in SPOILT])
def test_a_spoilt_episode_is_named_and_removed_and_no_other(database, lived, sql, said):
    database.execute(sql)
    opened = open_parts(database)
    health = verify(opened)
    assert list(health.episodes) == [1]
    assert health.episodes[1].startswith(said)
    (told,) = repair(opened, health)
    assert told.startswith(f"episode a ({said}")
    assert verify(opened).sound
    memory = ReplayMemory(database, HashEmbedder(32))
    assert bits(memory.get(list("bcdef"))) == bits(lived[1:])
    assert memory.ids() == list("bcdef")
    assert_consistent(database, memory)


def test_what_was_made_of_a_spoilt_episode_goes_with_it(database, memory, lived, rng):
    """Unless another of its episodes stays. Its pictures go too."""

    def pair(number, *episodes):
        seen = Observation(f"<image>{number}?", (picture(rng),))
        return PreferencePair(seen, None, action("x"), action("y"), float(number), "r", None, "goto", 0, episodes)

    memory.add_pairs([pair(2, "a"), pair(3, "a", "b")])
    memory.add_judgements([Judgement(bytes(16), "j", "goto", 0, ("a",), 1.0)])
    memory.add_judgements([Judgement(bytes(15) + b"b", "j", "goto", 0, ("a", "b"), 1.0)])
    database.execute("UPDATE steps SET info = '{' WHERE number = 1 << 20")
    opened = open_parts(database)
    repair(opened, verify(opened))
    assert verify(opened).sound
    memory = ReplayMemory(database, HashEmbedder(32))
    assert [one.margin for one in memory.pairs()] == [1.0, 3.0]
    assert list(memory.judged([bytes(16), bytes(15) + b"b"])) == [bytes(15) + b"b"]
    assert_consistent(database, memory)


LOOSE = [
    ("UPDATE pictures SET uses = uses + 1 WHERE number < 4", "3 pictures have a wrong count of use"),
    ("INSERT INTO pictures VALUES (99, x'99', 0)", "nothing shows 1 pictures that are damaged"),
    ("INSERT INTO picture_data SELECT 98, shape, codec, data FROM picture_data LIMIT 1",
     "the data of 1 pictures belong to no picture"),
    ("INSERT INTO steps SELECT 77 << 20, text, pictures, choices, said, tokens, logprobs, mode, command, readable, "
     "numbers, ended, info FROM steps LIMIT 1", "1 steps belong to no episode"),
    ("INSERT INTO vectors SELECT 77, embedder, data FROM vectors LIMIT 1",
     "the vectors of 1 episodes belong to no episode"),
    ("INSERT INTO judgements (key, source, task, cycle, episodes) VALUES (x'00', 'r', 't', 1, '[')",
     "1 judgements don't say whose answers they are about"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "said"), LOOSE, ids=[said for _, said in LOOSE])
def test_what_belongs_to_nothing_goes_and_counts_are_made_anew(database, lived, sql, said):
    database.execute(sql)
    opened = open_parts(database)
    health = verify(opened)
    assert health.loose == [said]
    assert not health.episodes
    assert repair(opened, health) == []
    assert verify(opened).sound
    assert bits(ReplayMemory(database, HashEmbedder(32)).get(list("abcdef"))) == bits(lived)


def test_a_pair_whose_picture_is_damaged_goes(database, lived):
    database.execute("UPDATE picture_data SET data = zeroblob(768), codec = 0 WHERE number = 22")
    opened = open_parts(database)
    health = verify(opened)
    assert health.pairs == {1: "picture 22 is not what was stored"}
    assert not health.episodes
    assert repair(opened, health) == ["pair 1 (picture 22 is not what was stored)"]
    assert verify(opened).sound


def test_a_flipped_byte_in_the_index_file_is_found_and_mended(database, lived, tmp_path):
    path = tmp_path / "run.db.index"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    opened = open_parts(database)
    health = verify(opened)
    assert health.index == ["the index file is damaged, or of another store"]
    repair(opened, health)
    assert verify(opened).sound
    assert open_parts(database).vectors.file_state() == "sound"


def test_an_index_that_says_other_than_the_vectors_is_found(database, lived, rng):
    """Its checksum is right; only the neighbours tell."""
    database.execute("UPDATE vectors SET data = ? WHERE episode = 3", (rng.normal(size=64).astype("<f2").tobytes(),))
    opened = open_parts(database)
    assert opened.vectors.file_state() == "sound"
    (said,) = verify(opened).index
    assert said.startswith("the index is wrong about")
    rebuild(opened)
    assert verify(opened).sound


def test_vectors_of_two_embedders_are_refused(database, lived):
    database.execute("INSERT INTO embedders (version, dimension) VALUES ('other', 32)")
    database.execute("UPDATE vectors SET embedder = 2 WHERE episode = 3")
    opened = open_parts(database)
    health = verify(opened)
    assert health.rest == ["vectors of 2 embedders are mixed, which can't be compared"]
    repair(opened, health)
    assert not verify(opened).sound


def test_a_file_that_sqlite_finds_damaged_is_refused_and_not_touched(database, lived, tmp_path):
    path = tmp_path / "run.db"
    page = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'episodes_by_cycle'").fetchone()[0]
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.close()
    data = bytearray(path.read_bytes())
    data[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    path.write_bytes(data)
    with Database(path) as again:
        opened = open_parts(again)
        health = verify(opened)
        assert health.file
        assert not health.sound
        assert repair(opened, health) == []
    assert path.read_bytes() == data


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "run.db").write_bytes(b"not at all" * 1000)
    with pytest.raises(DamagedError, match="is no database, or damaged"):
        Database(tmp_path / "run.db")
