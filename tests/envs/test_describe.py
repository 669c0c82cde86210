"""Describe: what is true and as one likes it scores 1; what isn't there scores 0; needless words cost."""

import numpy as np
import pytest
from playing import things_in

from envs.check import check_world
from envs.component import UserError
from envs.describe import NAMES, Describe, in_common
from envs.multimodal import WorldSettings, make_world
from envs.rooms import THINGS


def settings(**more: object) -> WorldSettings:
    data = {"id": "envs.describe:Describe-v0", "success": {"info": "success"}, **more}
    return WorldSettings.model_validate(data)


def red_ball(likes: str = "full") -> Describe:
    env = Describe(likes)  # type: ignore[arg-type]
    env.reset(seed=0)
    env.kind, env.colour = "ball", "red"
    return env


@pytest.mark.parametrize(
    ("said", "full", "brief"),
    [
        ("red ball", 1, 1 / 2),
        (" Red BALL.", 1, 1 / 2),
        ("ball", 1 / 2, 1),
        ("a red ball", 2 / 3, 1 / 3),
        ("ball red", 1 / 2, 1 / 2),
        ("red", 1 / 2, 0),
        ("ball ball ball", 1 / 3, 1 / 3),
        ("blue ball", 0, 0),
        ("red key", 0, 0),
        ("a red ball but no key", 0, 0),
        ("something", 0, 0),
        ("", 0, 0),
    ],
)
def test_what_was_said_of_a_red_ball_by_hand(said: str, full: float, brief: float) -> None:
    for likes, score in (("full", full), ("brief", brief)):
        _, reward, over, late, info = red_ball(likes).step(said)
        assert info["liking"] == {"full": pytest.approx(full), "brief": pytest.approx(brief)}
        assert (reward, over, late, info["success"]) == (pytest.approx(score), True, False, score == 1)


def test_what_is_there_and_what_is_not_share_out_the_names() -> None:
    info = red_ball().step("red ball")[4]
    assert info["present"] == ["ball", "red ball"]
    assert {"key", "box", "blue ball", "red key"} <= set(info["absent"])
    assert sorted(info["present"] + info["absent"]) == sorted(NAMES)
    assert len(NAMES) == 3 + 18


def test_in_common_is_a_subsequence_in_order() -> None:
    """By hand: of `a b c d` and `b x d` the longest is `b d`: 2 of 4."""
    assert in_common("abcd", "bxd") == 0.5
    assert in_common("ab", "ba") == 0.5
    assert in_common("aab", "aab") == 1


@pytest.mark.parametrize("likes", ["full", "brief"])
def test_the_expert_wins_and_the_other_s_wording_never_does(likes: str) -> None:
    env, other = Describe(likes), Describe("brief" if likes == "full" else "full")  # type: ignore[arg-type]
    for seed in range(100):
        for world in (env, other):
            world.reset(seed=seed)
        unliked = other.expert()
        assert env.step(env.expert())[4]["success"]
        env.reset(seed=seed)
        _, reward, *_, info = env.step(unliked)
        assert (reward, info["success"]) == (0.5, False)


@pytest.mark.parametrize(("likes", "names", "share"), [("full", NAMES[3:], 1 / 18), ("brief", NAMES[:3], 1 / 3)])
def test_a_constant_answer_is_worth_its_share(likes: str, names: tuple[str, ...], share: float) -> None:
    """Over 900 seeds, within four standard errors, and the shares of all such answers sum to 1."""
    env = Describe(likes)  # type: ignore[arg-type]
    right = []
    for seed in range(900):
        env.reset(seed=seed)
        right.append(env.expert())
    counts = [right.count(name) for name in names]
    assert sum(counts) == 900
    assert max(abs(count / 900 - share) for count in counts) < 4 * (share * (1 - share) / 900) ** 0.5


def test_the_picture_shows_that_one_thing_and_the_text_says_nothing() -> None:
    env, again = Describe(), Describe("brief")
    texts, met = set(), set()
    for seed in range(200):
        seen, _ = env.reset(seed=seed)
        assert things_in(seen["image"]) == [(env.kind, env.colour)]
        np.testing.assert_array_equal(seen["image"], again.reset(seed=seed)[0]["image"])  # the taste is not shown
        texts.add(seen["text"])
        met.add((env.kind, env.colour))
    assert texts == {"what is the thing?"}
    assert met == set(THINGS)


def test_it_keeps_the_contract_and_is_open() -> None:
    report = check_world(settings())
    assert report.choices is None
    assert report.prompt == "<image>what is the thing?"
    world = make_world(settings(kwargs={"likes": "brief"}, expert=True))
    world.reset(seed=1)
    *_, info = world.step("")
    assert info["expert"] in NAMES[:3]
    assert info["liking"] == {"full": 0.0, "brief": 0.0}


def test_a_taste_that_nobody_has_is_named() -> None:
    with pytest.raises(UserError, match=r"^likes is 'long': take one of full, brief.$"):
        Describe("long")  # type: ignore[arg-type]
