"""Twins: the words alone are worth a coin, exactly; so is either answer; what is seen decides."""

import re

import numpy as np
from playing import things_in

from envs.check import check_world
from envs.multimodal import WorldSettings, make_world
from envs.rooms import THINGS
from envs.twins import Twins

SEEDS = range(400)


def named(text: str) -> tuple[str, str]:
    colour, kind = re.fullmatch(r"is the (\w+) (\w+) first or second\?", text).groups()  # type: ignore[union-attr]
    return kind, colour


def test_one_thing_in_each_and_the_other_shares_one_word_of_the_name() -> None:
    env = Twins()
    kinds_met = set()
    for seed in SEEDS:
        seen, _ = env.reset(seed=seed)
        (first,), (second,) = things_in(seen["image0"]), things_in(seen["image1"])
        asked = named(seen["text"])
        assert asked == (first, second)[seed % 2]
        other = (first, second)[1 - seed % 2]
        assert sum(a == b for a, b in zip(asked, other, strict=True)) == 1
        kinds_met.add(asked)
        right = env.step(seed % 2)
        assert right[1:] == (1.0, True, False, {"success": True})
        env.reset(seed=seed)
        assert env.step(1 - seed % 2)[1:] == (0.0, True, False, {"success": False})
    assert kinds_met == set(THINGS)


def test_a_pair_of_seeds_is_one_question_with_the_pictures_exchanged() -> None:
    env, again = Twins(), Twins()
    for seed in range(0, 20, 2):
        one, other = env.reset(seed=seed)[0], again.reset(seed=seed + 1)[0]
        assert one["text"] == other["text"]
        np.testing.assert_array_equal(one["image0"], other["image1"])
        np.testing.assert_array_equal(one["image1"], other["image0"])
        assert not np.array_equal(one["image0"], one["image1"])


def test_text_alone_is_worth_exactly_half_and_the_pictures_alone_about_half() -> None:
    """Any rule about the text: here one bit of its hash, and constants. About the pictures: the kind that sorts first,
    then the colour; four standard errors of 0.025."""
    env = Twins()
    hits = np.zeros(4)
    for seed in SEEDS:
        seen, _ = env.reset(seed=seed)
        (first,), (second,) = things_in(seen["image0"]), things_in(seen["image1"])
        answers = (0, 1, sum(seen["text"].encode()) % 2, int(second < first))
        hits += [answer == env.side for answer in answers]
    assert (hits[:3] / len(SEEDS)).tolist() == [0.5, 0.5, 0.5]
    assert abs(hits[3] / len(SEEDS) - 0.5) < 0.1


def test_who_looks_and_listens_wins() -> None:
    env = Twins()
    for seed in SEEDS:
        seen, _ = env.reset(seed=seed)
        answer = [things_in(seen[key]) == [named(seen["text"])] for key in ("image0", "image1")].index(True)
        assert answer == env.expert()
        assert env.step(answer)[4]["success"]


def test_it_keeps_the_contract_and_shows_both_pictures() -> None:
    settings = WorldSettings.model_validate({"id": "envs.twins:Twins-v0", "success": {"info": "success"}})
    report = check_world(settings)
    assert report.pictures == ((56, 56, 3), (56, 56, 3))
    assert re.fullmatch(r"<image><image>is the \w+ \w+ first or second\? Say: first, second\.", report.prompt)
    world = make_world(settings)
    seen, _ = world.reset(seed=4)
    assert things_in(world.observe(seen).images[0]) == [named(world.unwrapped.text)]  # type: ignore[attr-defined]
