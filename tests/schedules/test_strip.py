"""The strip shows what was seen, said and won, pixel for pixel where pixels matter."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from envs.types import Action, Episode, Observation, Step, StopReason
from schedules.strip import (
    CAPTION,
    GAP,
    HEADER,
    SIDE,
    ending,
    episode_text,
    half_blocks,
    instruction,
    probability,
    write_strip,
)

RED, BLUE = (200, 10, 10), (10, 10, 200)


def seen(colour: tuple[int, int, int], text: str = "<image> go to the ball. Say: left, right.") -> Observation:
    picture = np.zeros((56, 56, 3), np.uint8)
    picture[:28] = colour
    return Observation(text, (picture,))


def step(observation: Observation, text: str, reward: float = 0.0, readable: bool = True) -> Step:
    logprobs = np.log(np.array([0.5, 0.8], np.float32))
    action = Action(text, np.array([7, 8]), logprobs, "closed", text, readable)
    return Step(observation, ("left", "right"), action, reward, 0.0, False, False, {})


def episode(
    steps: int = 3, success: bool = True, stop: StopReason = StopReason.TERMINATED, final: Observation | None = None
) -> Episode:
    made = tuple(step(seen(RED), "left", reward=float(k == steps - 1)) for k in range(steps))
    return Episode("id", "goto", 5, "g", 0, 1, "v", made, final or seen(BLUE), stop, success)


def shown(what: Episode, pictures: bool = False) -> str:
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(episode_text(what, pictures))
    return capture.get()


def test_probability_is_of_the_whole_answer() -> None:
    """0.5 for the first token, 0.8 for the second: 0.4 for both."""
    assert probability(step(seen(RED), "left")) == pytest.approx(0.4)


def test_pictures_are_enlarged_by_whole_pixels(tmp_path: Path) -> None:
    """56 pixels become 168: each 3 x 3, no colour that the agent did not see. The last panel is the final sight."""
    write_strip(tmp_path / "strip.png", episode())
    sheet = np.asarray(Image.open(tmp_path / "strip.png"))
    for panel, colour in enumerate([RED, RED, RED, BLUE]):
        left = GAP + panel * (SIDE + GAP)
        picture = sheet[HEADER : HEADER + SIDE, left : left + SIDE]
        assert {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()} == {colour, (0, 0, 0)}
        assert tuple(picture[SIDE // 2 - 1, 0]) == colour
        caption = sheet[HEADER + SIDE : HEADER + SIDE + CAPTION, left : left + SIDE]
        assert (caption.min(axis=(0, 1)) < 120).any(), "something is written under each picture"


def test_long_episodes_wrap(tmp_path: Path) -> None:
    write_strip(tmp_path / "long.png", episode(steps=20))
    width, height = Image.open(tmp_path / "long.png").size
    assert width == GAP + 8 * (SIDE + GAP)
    assert height == HEADER + 3 * (SIDE + CAPTION + GAP)


@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 160, 3), (400, 100, 3)])
def test_pictures_of_any_shape(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    odd = Observation("<image> look.", (np.full(shape, 90, np.uint8),))
    write_strip(tmp_path / "odd.png", episode(final=odd))
    assert half_blocks(odd).plain.count("\n") >= 1


def test_words_stand_where_there_is_no_picture(tmp_path: Path) -> None:
    write_strip(tmp_path / "words.png", episode(final=Observation("the word is red " * 10)))
    sheet = np.asarray(Image.open(tmp_path / "words.png"))
    left = GAP + 3 * (SIDE + GAP)
    assert len(np.unique(sheet[HEADER : HEADER + SIDE, left : left + SIDE])) > 10
    assert half_blocks(Observation("words")).plain == ""


def test_nothing_was_played(tmp_path: Path) -> None:
    """The world broke on its first step: what there is, is shown."""
    broken = Episode("id", "goto", 5, "g", 0, 1, "v", (), seen(BLUE), StopReason.ENV_ERROR, False)
    write_strip(tmp_path / "broken.png", broken)
    assert "failed (the world broke)" in shown(broken)


def test_endings_in_words() -> None:
    assert ending(episode()) == "success"
    assert ending(episode(success=False)) == "failed"
    assert ending(episode(success=False, stop=StopReason.TRUNCATED)) == "failed (out of time)"


def test_lines_for_the_terminal() -> None:
    text = shown(episode())
    assert "goto, seed 5: go to the ball. Say: left, right." in text
    assert [line.split() for line in text.splitlines() if "left" in line][1:] == [
        ["1", "left", "0.40", "-0.92"],
        ["2", "left", "0.40", "-0.92"],
        ["3", "left", "0.40", "-0.92", "+1.00"],
    ]
    assert text.splitlines()[-1] == "success"
    assert "▀" * 28 in shown(episode(), pictures=True)


def test_unreadable_answers_are_marked() -> None:
    made = (step(seen(RED), "[bold]jump", readable=False),)
    text = shown(Episode("id", "goto", 5, "g", 0, 1, "v", made, seen(BLUE), StopReason.TRUNCATED, False))
    assert "[bold]jump  (not readable)" in text, "and what the agent says is never taken for markup"


def test_half_blocks_hold_two_pixels_each() -> None:
    drawn = half_blocks(seen(RED), columns=4)
    assert drawn.plain == "▀▀▀▀\n" * 2
    assert str(drawn.spans[0].style) == "#c80a0a on #c80a0a"
    assert str(drawn.spans[-1].style) == "#000000 on #000000"


def test_instruction_is_one_line() -> None:
    assert instruction(Observation("<image>\ngo\n to <image> it")) == "go to it"
