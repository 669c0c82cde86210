"""Wrong pictures: of each kind what it says it is, and what an update that is given them looks at."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from agent.lesson import Lesson
from agent.pairs import PairSettings
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from agent.wrong_images import Kind, cropped, noised, noised_pairs, wrong_observations
from envs.collect import WorldPool
from envs.copycat import COLOURS, GREY
from envs.types import Episode, Observation
from memory.preferences import PreferencePair
from tests.agent.learning import WORLD, build, given, learner_in, played, run, success, watched

WORDS = ["red", "green", "blue"]
MODES = ("picture", "both", "text")


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return learner_in(tiny_folder)


@pytest.fixture(scope="module")
def pool() -> WorldPool:
    return WorldPool({mode: WORLD.with_(kwargs={"mode": mode, "words": WORDS}) for mode in MODES})


@pytest.fixture(scope="module")
def episodes(policy: Policy, pool: WorldPool) -> dict[str, list[Episode]]:
    """24 groups of 8 in each mode, played by the untouched model."""
    return {mode: played(policy, pool, 1, groups=24, size=8, task=mode) for mode in MODES}


@pytest.fixture(scope="module")
def pairs(episodes: dict[str, list[Episode]]) -> list[PreferencePair]:
    return PairSettings().build().make(episodes["picture"])[0]


def lesson(policy: Policy, **more: Any) -> Lesson:
    return Lesson(policy, given([]), Rehearsal([], None), np.random.default_rng(0), **more)


# -- kinds ------------------------------------------------------------------------------------------------------------


def test_another_pair_s_picture_asks_for_another_answer(policy: Policy, pairs: list[PreferencePair]) -> None:
    """The colour in the middle of the picture is what is asked for; the text stays."""
    wrong = wrong_observations("other", pairs, lesson(policy))
    assert sum(o is not None for o in wrong) > 0.9 * len(pairs)
    for pair, other in zip(pairs, wrong, strict=True):
        if other is not None:
            assert other.text == pair.observation.text
            assert tuple(other.images[0][28, 28]) != COLOURS[pair.chosen.text]
            assert tuple(pair.observation.images[0][28, 28]) == COLOURS[pair.chosen.text]


def test_no_other_picture_is_none(policy: Policy, pairs: list[PreferencePair]) -> None:
    """One answer to all; or two answers to one picture; or no pictures at all."""
    alike = [p for p in pairs if p.chosen.text == pairs[0].chosen.text]
    turned = [replace(pairs[0], chosen=pairs[0].rejected, rejected=pairs[0].chosen), pairs[0]]
    blind = [replace(p, observation=Observation(p.observation.text)) for p in pairs]
    for some in (alike, turned, blind):
        assert wrong_observations("other", some, lesson(policy)) == [None] * len(some)
    for kind in get_args(Kind):
        assert wrong_observations(kind, blind, lesson(policy)) == [None] * len(blind)
        assert wrong_observations(kind, [], lesson(policy)) == []


def test_a_retrieved_picture_is_asked_for_by_the_chosen_answer(policy: Policy, pairs: list[PreferencePair]) -> None:
    """What memory finds is taken if it has as many pictures."""
    found = [pairs[1].observation, None, Observation("two", pairs[2].observation.images * 2)]
    asked: list[Any] = []

    def alike(observations: Any, answers: Any) -> list[Observation | None]:
        asked.extend(zip(observations, answers, strict=True))
        return found

    wrong = wrong_observations("retrieved", pairs[:3], lesson(policy, alike=alike))
    assert [(o is p.observation, a) for (o, a), p in zip(asked, pairs, strict=False)] == [
        (True, p.chosen.text) for p in pairs[:3]
    ]
    assert wrong[0] == Observation(pairs[0].observation.text, pairs[1].observation.images)
    assert wrong[1:] == [None, None]


def test_a_crop_is_a_small_part_at_full_size() -> None:
    """Every row and column of the picture has its own colour, so that what is left of it can be counted."""
    rows, columns = np.meshgrid(np.arange(60), np.arange(80), indexing="ij")
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    for seed in range(20):
        part = cropped(image, np.random.default_rng(seed))
        assert (part.shape, part.dtype) == (image.shape, np.uint8)
        share = len(np.unique(part[..., 0])) * len(np.unique(part[..., 1])) / (60 * 80)
        assert 0.04 <= share <= 0.21
        assert np.ptp(np.unique(part[..., 0])) + 1 == len(np.unique(part[..., 0])), "one piece"
    tiny = np.zeros((1, 1, 3), np.uint8)
    assert cropped(tiny, np.random.default_rng(0)).shape == (1, 1, 3)


def test_noise_leaves_a_fifth_of_the_signal() -> None:
    """Of a signal of variance s^2 the share is 0.2 s^2 / (0.2 s^2 + 0.8): s = 0.5 gives a correlation of 0.24, and of
    0.23 once clipped."""
    rng = np.random.default_rng(0)
    image = (127.5 + 0.5 * 127.5 * rng.standard_normal((128, 128, 3))).clip(0, 255).astype(np.uint8)
    drowned = noised(image, rng)
    assert (drowned.shape, drowned.dtype) == (image.shape, np.uint8)
    assert np.corrcoef(image.ravel(), drowned.ravel())[0, 1] == pytest.approx(0.228, abs=0.008)


def test_pairs_of_what_is_said_of_a_drowned_picture(policy: Policy, episodes: dict[str, list[Episode]]) -> None:
    """The chosen answer won under the real picture; the rejected one was said under noise, and nobody's reference
    knows both."""
    made = noised_pairs(lesson(policy), episodes["picture"], 64)
    assert 8 < len(made) <= 64
    for pair in made:
        assert pair.chosen.text == {v: k for k, v in COLOURS.items()}[tuple(pair.observation.images[0][28, 28])]
        assert pair.rejected.text != pair.chosen.text
        assert pair.reference_logprobs is None
    assert noised_pairs(lesson(policy), [replace(e, success=False) for e in episodes["picture"]], 64) == []
    update = build("dpo", rounds=1, noised=64)
    (first, *_), _ = watched(update, policy, given([episodes["picture"]]))
    assert first["pairs"] > first["pairs_parting"]
    policy.discard()


# -- what is looked at ------------------------------------------------------------------------------------------------


def own_picture_s_gain(policy: Policy, episodes: list[Episode]) -> tuple[float, float]:
    """How much likelier the right answer is under its own picture than under another's, and than under a grey one."""
    choices = episodes[0].steps[0].choices
    assert choices is not None
    seen = {e.steps[0].info["expert"]: e.steps[0].observation for e in episodes}
    assert len(seen) == 3
    grey = (np.full_like(episodes[0].steps[0].observation.images[0], GREY),)
    over: list[tuple[float, float]] = []
    for word, own in seen.items():
        others = [o.images for w, o in seen.items() if w != word]

        def said(images: Any, word: str = word, text: str = own.text) -> float:
            return float(np.log(policy.table(Observation(text, images), choices)[word]))

        over.append((said(own.images) - np.mean([said(i) for i in others]), said(own.images) - said(grey)))
    return tuple(np.mean(over, axis=0).tolist())  # type: ignore[return-value]


@pytest.mark.parametrize(("mode", "gain"), [("picture", -0.5), ("both", 1.0)])
@pytest.mark.parametrize("kind", ["other", "retrieved"])
def test_the_image_s_term_makes_it_look(
    kind: str, mode: str, gain: float, policy: Policy, episodes: dict[str, list[Episode]]
) -> None:
    """The same round three times over, with and without the term: what the answer owes to its own picture.

    Where the text tells the word too, DPO is free not to look: against another's picture 6.3 nats without and 8.4 with
    the term, against a grey one 0.7 and 2.3. Where the text alone is chance, DPO has to look anyway: against another's
    picture there is no gain to be seen (5.4 and 5.1 to 6.2), against a grey one 1.7 and 2.6.
    """
    seen = {e.steps[0].info["expert"]: e.steps[0].observation for e in episodes[mode]}

    def alike(observations: Any, answers: list[str]) -> list[Observation | None]:
        return [next(o for word, o in seen.items() if word != answer) for answer in answers]

    sides = {}
    for weight in (0.0, 1.0):
        policy.discard()
        update = build("dpo", rounds=1, epochs=3, learning_rate=2e-3, image_weight=weight, wrong_image=kind)
        report = run(update, policy, given([episodes[mode]]), alike=alike)
        assert ("image_margin" in report.metrics) == bool(weight)
        sides[weight] = own_picture_s_gain(policy, episodes[mode])
    assert report.metrics["image_margin"] > 1
    assert sides[1.0][0] > sides[0.0][0] + gain
    assert sides[1.0][1] > sides[0.0][1] + 0.5


def test_without_its_picture_the_answer_is_chance(
    policy: Policy, pool: WorldPool, episodes: dict[str, list[Episode]]
) -> None:
    """The negative control of the world itself: what was learned above came from the picture. Chance is 1/3."""
    policy.discard()
    run(build("dpo", rounds=1, epochs=3, learning_rate=2e-3), policy, given([episodes["picture"]]))
    assert success(policy, pool, task="picture") > 0.9
    asked = [e.steps[0] for e in played(policy, pool, 9, groups=150, size=1, task="picture")]
    grey = [replace(s.observation, images=(np.full_like(s.observation.images[0], GREY),)) for s in asked]
    replies = policy.act(grey, [s.choices for s in asked], [np.random.default_rng(i) for i in range(len(asked))])
    right = np.mean([reply.text == step.info["expert"] for reply, step in zip(replies, asked, strict=True)])
    assert right == pytest.approx(1 / 3, abs=0.12)


@pytest.mark.parametrize("kind", ["crop", "noise"])
def test_spoilt_pictures_are_wrong_pictures_too(kind: str, policy: Policy, episodes: dict[str, list[Episode]]) -> None:
    """Every pair has one, the anchor is added, and the reference of the wrong picture is scored, so that it begins
    at 0."""
    policy.discard()
    update = build("dpo", rounds=1, epochs=2, minibatch=1024, image_weight=1.0, anchor_weight=0.5, wrong_image=kind)
    (first, second), _ = watched(update, policy, given([episodes["both"]]))
    assert first["image_margin"] == pytest.approx(0, abs=1e-4)
    assert first["loss"] == pytest.approx((1 + 1 + 0.5) * np.log(2), abs=1e-3)
    assert second["image_margin"] != 0


def test_worlds_of_words_alone_have_no_wrong_pictures(policy: Policy, episodes: dict[str, list[Episode]]) -> None:
    policy.discard()
    blind = [
        replace(
            e,
            steps=tuple(
                replace(s, observation=Observation(s.observation.text.removeprefix("<image>"))) for s in e.steps
            ),
        )
        for e in episodes["text"]
    ]
    report = run(build("dpo", rounds=1, image_weight=1.0, wrong_image="noise"), policy, given([blind]))
    assert report.optimizer_steps > 0
    assert "image_margin" not in report.metrics
