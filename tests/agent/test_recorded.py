"""People's judgements from a file: matched, averaged, and refused by line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.judging import Annotator, Answered
from envs.component import UserError, load
from envs.types import Observation
from memory.images import content_key
from tests.memory.making import action, episode, step

RNG = np.random.default_rng(0)
PICTURE = np.full((2, 2, 3), 7, np.uint8)
SEEN = Observation("<image>go to the red ball.", (PICTURE,))


def answered(text: str, seen: Observation = SEEN) -> Answered:
    said = step(seen, action=action(text))
    return Answered(said, episode(text, RNG, steps=(said,)), 0)


def build(path: Path) -> Annotator:
    return load("agent.annotators", {"type": "recorded", "path": str(path)}, "annotator").build()


def recorded(tmp_path: Path, *lines: str | bytes) -> Annotator:
    path = tmp_path / "judged.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return build(path)


def line(better: str = "a", worse: str = "b", prompt: str = SEEN.text, **more: Any) -> str:
    return json.dumps({"prompt": prompt, "better": better, "worse": worse, **more})


def test_recorded_by_hand(tmp_path: Path) -> None:
    """a over b by 1, 1 and 4, b over a by 2: (1 + 1 + 4 - 2) / 4 = 1. c and d stand even."""
    lines = [line(), "", line(margin=1.0), line(margin=4), line("b", "a", margin=2), line("c", "d"), line("d", "c")]
    people = recorded(tmp_path, *lines)
    a, b, c, d = map(answered, "abcd")
    assert (people.judge(a, b), people.judge(b, a)) == (1.0, -1.0)
    assert people.judge(c, d) is None
    assert people.judge(a, c) is None
    elsewhere = Observation("another prompt")
    assert people.judge(answered("a", seen=elsewhere), answered("b", seen=elsewhere)) is None


def test_pictures_are_matched_where_they_are_named(tmp_path: Path) -> None:
    """Of this picture b is better; of any other, a."""
    people = recorded(tmp_path, line(), line("b", "a", images=[content_key(PICTURE).hex()]))
    other = Observation(SEEN.text, (PICTURE + 1,))
    assert people.judge(answered("a"), answered("b")) == -1.0
    assert people.judge(answered("a", seen=other), answered("b", seen=other)) == 1.0
    only = recorded(tmp_path, line(images=[content_key(PICTURE).hex()]))
    assert only.judge(answered("a", seen=other), answered("b", seen=other)) is None


def test_a_text_with_a_line_separator_is_one_line(tmp_path: Path) -> None:
    text = '{"prompt": "p\u2028q", "better": "a", "worse": "b"}\r'
    seen = Observation("p\u2028q")
    assert recorded(tmp_path, text).judge(answered("a", seen=seen), answered("b", seen=seen)) == 1.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "line 2: the line: Invalid JSON"),
        ("[1]", "line 2: the line: Input should be an object"),
        (line(margin=0), "line 2: margin"),
        ('{"prompt": "p", "better": "a", "worse": "b", "margin": NaN}', "line 2: margin"),
        (line("a", "a"), "line 2: the line: .*nothing is preferred"),
        (line(images=["12"]), "line 2: images.0"),
        (line(imags=[]), "line 2: imags"),
        ('{"prompt": "p", "better": "a"}', "line 2: worse: Field required"),
        (b'{"prompt": "\xff", "better": "a", "worse": "b"}', "line 2: the line: "),
    ],
)
def test_a_bad_line_is_named(bad: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"judged.jsonl, {message}"):
        recorded(tmp_path, line(), bad)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotator.path is .*nowhere.*No such file"):
        build(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"annotator.path is .*directory"):
        build(tmp_path)
