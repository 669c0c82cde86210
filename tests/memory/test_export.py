"""What is exported is what is remembered, and `datasets` reads the pairs without a network."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from envs.component import UserError
from memory import export as exporting
from memory.export import export
from memory.images import content_key
from memory.parts import open_parts
from memory.preferences import PreferencePair, make_pair, pairs_from_episodes
from tests.memory.making import action, episode, step


@pytest.fixture
def lived(database, memory, rng):
    """Two episodes of a group that part at once, one episode without steps, two pairs (one of words only)."""
    one = episode("one", rng, cycle=1)
    other = step(one.steps[0].observation, action=action("turn right", 1), info={"note": "é"})
    episodes = [one, episode("two", rng, cycle=1, steps=(other,), success=False), episode("none", rng, length=0)]
    memory.add(episodes)
    pairs = pairs_from_episodes(episodes[:2])
    words = step(type(other.observation)("Only words."), choices=None)
    pairs.append(make_pair(words, words, 0.5, "recorded", (one, one)))
    memory.add_pairs(pairs)
    return episodes, pairs


@pytest.fixture
def written(database, lived, tmp_path, monkeypatch):
    """The folder, written two rows at a time."""
    monkeypatch.setattr(exporting, "BATCH", 2)
    assert export(open_parts(database), tmp_path / "out") == {"episodes": 3, "steps": 4, "images": 6, "pairs": 2}
    return tmp_path / "out"


def test_the_tables_are_the_episodes(written, lived):
    episodes = {row["id"]: row for row in pq.read_table(written / "episodes.parquet").to_pylist()}
    steps = pq.read_table(written / "steps.parquet").to_pylist()
    assert list(episodes) == ["one", "two", "none"]
    for original in lived[0]:
        row = episodes[original.id]
        assert (row["task"], row["seed"], row["cycle"], row["success"], row["steps"]) == (
            original.task, original.seed, original.cycle, original.success, len(original.steps)
        )  # fmt: skip
        assert row["return"] == sum(s.reward for s in original.steps)
        mine = [s for s in steps if s["episode"] == original.id]
        assert [s["step"] for s in mine] == list(range(len(original.steps)))
        for told, lived_step in zip(mine, original.steps, strict=True):
            assert told["tokens"] == lived_step.action.tokens.tolist()
            assert np.float32(told["logprobs"]).tobytes() == lived_step.action.logprobs.tobytes()
            assert json.loads(told["command"]) == lived_step.action.command
            assert json.loads(told["info"]) == lived_step.info
            assert tuple(told["choices"]) == lived_step.choices
            assert [shown(written, key).tobytes() for key in told["images"]] == [
                image.tobytes() for image in lived_step.observation.images
            ]


def shown(folder: Path, key: str) -> np.ndarray:
    """The picture of a content key, uint8 [H, W, 3]."""
    with Image.open(folder / "images" / f"{key}.png") as image:
        pixels = np.asarray(image)
    assert content_key(pixels).hex() == key
    return pixels


def test_datasets_reads_the_pairs_with_pictures(written, lived, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    read = datasets.load_dataset(str(written / "pairs"), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["images"].feature, datasets.Image)
    for row, pair in zip(read, lived[1], strict=True):
        assert (row["prompt"], row["chosen"], row["rejected"]) == (
            pair.observation.text, pair.chosen.text, pair.rejected.text
        )  # fmt: skip
        assert (row["margin"], row["source"], tuple(row["episodes"])) == (pair.margin, pair.source, pair.episodes)
        assert [np.asarray(image).tobytes() for image in row["images"]] == [
            i.tobytes() for i in pair.observation.images
        ]
    assert [len(row["images"]) for row in read] == [1, 0]


def test_without_pairs_there_is_still_a_whole_folder(database, memory, tmp_path):
    assert export(open_parts(database), tmp_path / "out") == {"episodes": 0, "steps": 0, "images": 0, "pairs": 0}
    assert pq.read_table(tmp_path / "out" / "steps.parquet").num_rows == 0


def test_a_folder_in_use_is_refused(database, lived, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match=r"out is there already and not empty\. Give another folder"):
        export(open_parts(database), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
    (tmp_path / "out" / "mine").unlink()
    export(open_parts(database), tmp_path / "out")


def test_a_failure_on_the_way_leaves_nothing(database, lived, tmp_path):
    database.execute("UPDATE picture_data SET data = zeroblob(9) WHERE number = 2")
    with pytest.raises(UserError, match="picture 2"):
        export(open_parts(database), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == []


def test_a_place_that_cannot_be_written(database, lived, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        export(open_parts(database), tmp_path / "file" / "out")


def test_it_is_a_pair(lived):
    assert isinstance(lived[1][0], PreferencePair)
    assert lived[1][0].episodes == ("one", "two")
