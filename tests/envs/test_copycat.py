"""The identity world: its optimum is 1, and what says nothing gets chance."""

from collections import Counter

import numpy as np
import pytest
from fake_actors import copycat

from envs.component import UserError
from envs.copycat import COLOURS, Copycat
from envs.multimodal import make_world


def play(world: Copycat, answers: int, seed: int) -> tuple[list[str], list[float], list[bool]]:
    """Answer by looking at the centre of the picture."""
    seen, _ = world.reset(seed=seed)
    texts, rewards, wins = [seen["text"]], [], []
    for _ in range(answers):
        named = [word for word in world.action_texts if tuple(seen["image"][28, 28]) == COLOURS[word]]
        seen, reward, over, cut, info = world.step(world.action_texts.index(named[0]) if named else 0)
        texts.append(seen["text"])
        rewards.append(reward)
        wins.append(info["success"])
        assert cut is False
    assert over is True
    return texts, rewards, wins


@pytest.mark.parametrize("mode", ["picture", "both"])
def test_the_picture_shows_the_word(mode: str) -> None:
    texts, rewards, wins = play(Copycat(mode=mode, length=4), 4, seed=3)  # type: ignore[arg-type]
    assert rewards == [0.25] * 4
    assert wins == [False, False, False, True]
    assert (set(texts) == {"Which colour is this?"}) == (mode == "picture")


def test_the_text_says_the_word_and_its_picture_nothing() -> None:
    world = Copycat(words=("tea", "coffee"))
    pictures, words = set(), Counter()
    for seed in range(200):
        seen, _ = world.reset(seed=seed)
        pictures.add(seen["image"].tobytes())
        word = seen["text"].removeprefix("The word is ").rstrip(".")
        words[word] += 1
        assert world.step(("tea", "coffee").index(word))[1:4] == (1.0, True, False)
    assert len(pictures) == 1
    assert abs(words["tea"] - 100) < 4 * 50**0.5


def test_the_words_are_in_balance() -> None:
    world = Copycat()
    counts = Counter(world.reset(seed=seed)[0]["text"] for seed in range(400))
    assert len(counts) == 4
    assert all(abs(count - 100) < 4 * 75**0.5 for count in counts.values())


def test_one_wrong_answer_loses_the_episode_and_its_share_of_the_return() -> None:
    world = make_world(copycat(length=2))
    seen, _ = world.reset(seed=0)
    right = seen["text"].split("The word is ")[1].split(".")[0]
    wrong = next(word for word in ("red", "green") if word != right)
    seen, first, *_ = world.step(wrong)
    _, second, terminated, _, info = world.step(seen["text"].split("The word is ")[1].split(".")[0])
    assert (first, second, terminated, info["success"]) == (0.0, 0.5, True, False)


def test_pictures_are_never_shared() -> None:
    world = Copycat(mode="both")
    first, second = world.reset(seed=0)[0], world.reset(seed=0)[0]
    np.testing.assert_array_equal(first["image"], second["image"])
    assert not np.shares_memory(first["image"], second["image"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"words": ["red"]}, "Copycat has 1 words and length 1: give 2 or more words, length >= 1."),
        ({"length": 0}, "Copycat has 4 words and length 0: give 2 or more words, length >= 1."),
        ({"mode": "smell"}, "mode is 'smell': Copycat knows text, picture and both."),
        (
            {"words": ["red", "tea"], "mode": "both"},
            "words has 'tea': a picture can show red, green, blue, yellow, purple, orange, white, black. Use those.",
        ),
    ],
)
def test_mistakes_are_named(kwargs: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_world(copycat(**kwargs))
    assert str(caught.value) == message
