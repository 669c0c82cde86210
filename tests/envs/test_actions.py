"""Reading replies: exact, then tolerant where that is unambiguous, and never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.actions import fold, neutralise, reader
from envs.types import IMAGE_MARK

MOVES = ("turn left", "turn right", "go forward")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("turn left", 0),
        ("Turn LEFT", 0),
        ("  turn   right\n", 1),
        ("go forward.", 2),
        ('"Go forward!"', 2),
        ("**turn-left**", 0),
        ("turn_right", 1),
        ("I would turn left", None),
        ("turn", None),
        ("turn left turn right", None),
        ("turnleft", None),
        ("", None),
        ("\x00", None),
        ("...", None),
    ],
)
def test_a_reply_is_read_or_not(text: str, index: int | None) -> None:
    assert reader(MOVES).read(text) == index


def test_signs_are_answers_too() -> None:
    signs = reader(("+", "-", "?"))
    assert [signs.read(text) for text in ("+", "-", "?", " - ", "+.", '"-"')] == [0, 1, 2, 1, 0, 1]
    assert [signs.read(text) for text in ("", "!", "--", "minus")] == [None] * 4


def test_where_tolerance_would_be_ambiguous_only_the_exact_text_counts() -> None:
    twins = reader(("Left", "left", "right"))
    assert [twins.read(text) for text in ("Left", "left", "LEFT", "RIGHT.")] == [0, 1, None, 2]


def test_punctuation_decides_where_it_must() -> None:
    twins = reader(("stop!", "stop"))
    assert [twins.read(text) for text in ("stop!", "STOP!", "stop", "stop.")] == [0, 0, 1, None]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6, unique=True))
def test_every_choice_reads_as_itself(choices: list[str]) -> None:
    assert [reader(tuple(choices)).read(text) for text in choices] == list(range(len(choices)))


@given(st.text(max_size=30), st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True))
def test_what_is_read_has_the_choice_s_letters(text: str, choices: list[str]) -> None:
    index = reader(tuple(choices)).read(text)
    assert index is None or text == choices[index] or fold(text) == fold(choices[index])


@given(st.lists(st.sampled_from(["<", "image", ">", "<image>", "<ima", "ge>", " "]), max_size=12).map("".join))
def test_no_text_can_forge_a_mark(text: str) -> None:
    assert IMAGE_MARK not in neutralise(text)
    if IMAGE_MARK not in text:
        assert neutralise(text) == text
