"""Drift changes one thing and says so: the same seeds, the same start, another effect, other words or other colours."""

import importlib
import re

import gymnasium
import numpy as np
import pytest
from fake_actors import copycat, corridor

from envs.check import check_world
from envs.component import UserError, names
from envs.drift import load_drift
from envs.multimodal import World, WorldSettings, make_world


def shown(settings: WorldSettings, seed: int = 0) -> tuple[World, str, np.ndarray]:
    world = make_world(settings)
    observation = world.observe(world.reset(seed=seed)[0])
    return world, observation.text, observation.images[0]


def bundled() -> list[str]:
    """`module:Id` of every world in `envs`: a new one is tested the moment it exists."""
    for module in names("envs"):
        importlib.import_module(f"envs.{module}")
    specs = [(spec.id, spec.entry_point) for spec in gymnasium.registry.values()]
    homes = [(name, entry if isinstance(entry, str) else getattr(entry, "__module__", "")) for name, entry in specs]
    return sorted(f"{home.split(':')[0]}:{name}" for name, home in homes if home.startswith("envs."))


def test_every_bundled_world_is_found() -> None:
    assert {"envs.copycat:Copycat-v0", "envs.babyai:GoTo-v0", "envs.cards:NumberLine-v0"} <= set(bundled())


@pytest.mark.parametrize("kind", [None, *names("envs.drift")])
@pytest.mark.parametrize("world_id", bundled())
def test_every_bundled_world_keeps_its_promises_under_every_drift(world_id: str, kind: str | None) -> None:
    """Gymnasium's checker and ours. Wherever a drift is told, the prompt differs from the undrifted one."""
    plain = WorldSettings.model_validate({"id": world_id, "success": {"info": "success"}, "max_steps": 64})
    world, text, image = shown(plain)
    first, second = (world.choices() or ("this", "that"))[:2]
    example = {
        None: {},
        "controls": {"exchange": [first, second]},
        "renamed": {"names": {first: "alpha", second: "beta"}},
        "palette": {"channels": [1, 2, 0]},
        "wording": {"template": "Be so kind: {text}"},
        "blank": {"what": "text"},
    }[kind]
    drifted = plain.with_(drift=[{"type": kind, **example}] if kind else [])
    if world.choices() is None and kind in ("controls", "renamed"):
        with pytest.raises(UserError, match="in this world anything may be said"):
            make_world(drifted)
        return
    report = check_world(drifted, episodes=2)
    _, drifted_text, drifted_image = shown(drifted)
    assert report.prompt == drifted_text
    assert (drifted_text != text) == (kind is not None)
    if kind != "palette":
        np.testing.assert_array_equal(image, drifted_image)


def test_exchanged_controls_do_what_the_other_did_and_say_so() -> None:
    world, text, _ = shown(corridor(drift=[{"type": "controls", "exchange": ["left", "right"]}]))
    assert text == "<image>go right. Left and right are exchanged. Say: left, right, wait."
    for said in ("right", "left", "left", "wait", "left"):
        outcome = world.step(said)
    assert world.unwrapped.commands == [0, 1, 1, 2, 1]  # type: ignore[attr-defined]
    assert outcome[2] is True


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (("turn left", "turn right"), "Left and right are exchanged."),
        (("pick it up", "put it up"), "Pick and put are exchanged."),
        (("go", "go back"), "Go and go back are exchanged."),
        (("+", "-"), "+ and - are exchanged."),
    ],
)
def test_the_sentence_leaves_out_what_both_share(pair: tuple[str, str], sentence: str) -> None:
    settings = corridor(drift=[{"type": "renamed", "names": {"left": pair[0], "right": pair[1]}}])
    told = settings.with_(drift=[*settings.drift, {"type": "controls", "exchange": list(pair)}])
    assert shown(told)[1] == f"<image>go right. {sentence} Say: {pair[0]}, {pair[1]}, wait."


def test_a_drift_may_be_silent_or_use_its_own_words() -> None:
    exchange = {"type": "controls", "exchange": ["left", "right"]}
    assert shown(corridor(drift=[{**exchange, "said": False}]))[1] == shown(corridor())[1]
    own = shown(corridor(drift=[{**exchange, "said": "Beware, mirrored"}]))[1]
    assert own == "<image>go right. Beware, mirrored. Say: left, right, wait."


def test_exchanging_twice_is_no_exchange() -> None:
    exchange = {"type": "controls", "exchange": ["left", "right"], "said": False}
    world, _, _ = shown(corridor(drift=[exchange, exchange]))
    for _ in range(3):
        outcome = world.step("right")
    assert outcome[2] is True


def test_exchanges_add_up_from_the_inside_out() -> None:
    """Inner left<->right, outer right<->wait: right -> wait, wait -> right -> left, left -> right."""
    exchange = [{"type": "controls", "exchange": pair} for pair in (["left", "right"], ["right", "wait"])]
    world, _, _ = shown(corridor(drift=exchange))
    for said in ("right", "wait", "left"):
        world.step(said)
    assert world.unwrapped.commands == [2, 0, 1]  # type: ignore[attr-defined]


def test_renamed_actions_are_offered_and_read_by_their_new_names_only() -> None:
    world, text, _ = shown(corridor(drift=[{"type": "renamed", "names": {"left": "port", "right": "starboard"}}]))
    assert text == "<image>go right. Say: port, starboard, wait."
    assert world.choices() == ("port", "starboard", "wait")
    assert world.step("right")[4]["readable"] is False
    assert world.step("Starboard.")[4]["command"] == 1


def test_names_may_change_places() -> None:
    world, text, _ = shown(corridor(drift=[{"type": "renamed", "names": {"left": "right", "right": "left"}}]))
    assert text.endswith("Say: right, left, wait.")
    assert world.step("left")[4]["command"] == 1


@pytest.mark.parametrize(
    ("channels", "sentence"),
    [
        ([2, 1, 0], "Red looks blue, blue looks red."),
        ([2, 0, 1], "Red looks green, green looks blue, blue looks red."),
        ([0, 2, 1], "Green looks blue, blue looks green."),
    ],
)
def test_the_palette_is_permuted_exactly_and_the_sentence_is_true(channels: list[int], sentence: str) -> None:
    drifted = copycat(mode="both", drift=[{"type": "palette", "channels": channels}])
    for seed in range(8):
        _, told, changed = shown(drifted, seed)
        _, text, image = shown(copycat(mode="both"), seed)
        assert told == text.replace(" Say:", f" {sentence} Say:")
        for new, old in enumerate(channels):
            np.testing.assert_array_equal(changed[:, :, new], image[:, :, old])
        word = text.split("The word is ")[1].split(".")[0]
        looks = dict(re.findall(r"(\w+) looks (\w+)", sentence.lower())).get(word, word)
        if word != "yellow":
            assert int(changed[28, 28].argmax()) == ["red", "green", "blue"].index(looks)
        assert changed.flags.c_contiguous


def test_wording_replaces_whole_words_all_at_once() -> None:
    replace = {"go right": "head east", "go": "stay", "right": "wrong", "head": "tail"}
    assert shown(corridor(drift=[{"type": "wording", "replace": replace}]))[1].startswith("<image>head east. Say:")
    assert shown(corridor(drift=[{"type": "wording", "replace": {"go": "right", "right": "go"}}]))[1].startswith(
        "<image>right go."
    )
    assert shown(corridor(drift=[{"type": "wording", "replace": {"g": "x", "igh": "y"}}]))[1].startswith(
        "<image>go right."
    )


def test_wording_reaches_every_step_and_leaves_choices_and_notices_alone() -> None:
    drift = [
        {"type": "controls", "exchange": ["left", "right"]},
        {"type": "wording", "replace": {"right": "east"}, "template": "Dear robot, {text} {now}"},
    ]
    world, text, _ = shown(corridor(drift=drift))
    expected = "<image>Dear robot, go east {now}. Left and right are exchanged. Say: left, right, wait."
    assert text == expected
    assert world.step("right")[0]["text"] == expected


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"type": "controls", "exchange": ["left", "rihgt"]},
            "drift.exchange has 'rihgt': no such action here. There are: left, right, wait.",
        ),
        (
            {"type": "renamed", "names": {"up": "down"}},
            "drift.names has 'up': no such action here. There are: left, right, wait.",
        ),
        (
            {"type": "renamed", "names": {"left": "wait"}},
            "drift.names gives two actions the name 'wait'. Give each its own.",
        ),
    ],
)
def test_what_does_not_fit_the_world_is_named(item: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_world(corridor(drift=[item]))
    assert str(caught.value) == message


def test_an_open_world_has_no_controls_to_exchange() -> None:
    item = {"type": "controls", "exchange": ["a", "b"]}
    settings = {"id": "tests.envs.fake_worlds:Echo-v0", "success": {"info": "success"}, "drift": [item]}
    with pytest.raises(UserError) as caught:
        make_world(WorldSettings.model_validate(settings))
    assert str(caught.value) == (
        "drift.exchange names actions, but in this world anything may be said. Remove this drift."
    )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"type": "wording"}, "it changes nothing. Give replace: {OLD: NEW} or template."),
        (
            {"type": "wording", "template": "Hello"},
            "template is 'Hello': the instruction would be lost. Put {text} where it goes.",
        ),
        ({"type": "wording", "replace": {"": "x"}}, "replace has an empty text to look for. Name the words."),
        ({"type": "controls", "exchange": ["left"]}, "at least 2 items"),
        ({"type": "controls", "exchange": ["left", "right"], "sayd": True}, "Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused_at_load(item: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_drift(item)


def test_a_user_s_own_drift_is_a_module(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_drifts").mkdir()
    (tmp_path / "my_drifts" / "fog.py").write_text(
        "from envs.drift import Drift, DriftSettings\n"
        "class Config(DriftSettings):\n"
        "    def build(self, env):\n"
        "        return Fog(env, self)\n"
        "class Fog(Drift):\n"
        "    def notice(self):\n"
        "        return 'There is fog.'\n"
    )
    (tmp_path / "my_drifts" / "odd.py").write_text(
        "from envs.component import Settings\nclass Config(Settings): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "go right. There is fog. Say" in shown(corridor(drift=[{"type": "my_drifts.fog"}]))[1]
    with pytest.raises(UserError, match=r"^drift 'my_drifts.odd': its Config is not an envs.drift.DriftSettings"):
        load_drift({"type": "my_drifts.odd"})


@pytest.mark.parametrize("history", [1, 3])
def test_blanked_pictures_are_one_grey_and_blanked_text_is_exactly_the_instruction(history: int) -> None:
    """Notices and choices stay, also in what is remembered of earlier steps."""
    controls = {"type": "controls", "exchange": ["left", "right"]}
    seeing = corridor(drift=[controls], history=history)
    blind = seeing.with_(drift=[controls, {"type": "blank", "what": "pictures"}])
    deaf = seeing.with_(drift=[controls, {"type": "blank", "what": "text"}])
    worlds = [make_world(settings) for settings in (seeing, blind, deaf)]
    for world in worlds:
        world.reset(seed=0)
    seen, unseen, unheard = (world.observe(world.step("right")[0]) for world in worlds)
    assert unseen.text == seen.text
    assert all((image == 128).all() and image.shape == seen.images[0].shape for image in unseen.images)
    assert unheard.text == seen.text.replace("go right. ", "")
    assert unheard.text.endswith("<image>Left and right are exchanged. Say: left, right, wait.")
    for ours, theirs in zip(unheard.images, seen.images, strict=True):
        np.testing.assert_array_equal(ours, theirs)
