"""The bundled pilot: what it weighs, how it loads, that it sees and listens; and the recipe's own arithmetic."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.pilot import folder
from agent.pilot.batch import SHELTERED_LAYERS, Batcher, Pointer, answer_logits
from agent.pilot.build import IMAGE_TOKENS
from agent.pilot.figures import FIGURES, unsure_scene
from agent.pilot.measure import answer, goto_worlds
from agent.pilot.questions import ROOM_QUESTIONS, UNDECIDED, Room, controls, random_pose, random_room, room_scene
from agent.pilot.train import Recipe, Trainer, draw_scenes, learning_rate
from agent.pilot.words import ALL, NAMELESS, WAYS
from agent.policy import Policy
from envs.collect import WorldPool, collect
from envs.component import UserError
from envs.rooms import ACTIONS
from envs.types import Ticket
from schedules.config import load_stream

MEGA = 1_000_000


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForImageTextToText.from_pretrained(folder(), dtype=torch.float32, local_files_only=True).eval()


def test_it_is_small(model):
    assert sum(p.numel() for p in model.parameters()) <= 2 * MEGA
    assert sum(path.stat().st_size for path in folder().iterdir()) <= 8 * MEGA
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_any_text_can_be_encoded_and_words_are_one_token(processor):
    tokenizer = processor.tokenizer
    for text in ("Zürich 😀 \x07", "日本", "turn left", "+"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for word in ALL:
        assert len(tokenizer(word)["input_ids"]) == len(tokenizer(f" {word}")["input_ids"]) == 1


def prompt_ids(processor, scene, text):
    content = [{"type": "image"}, {"type": "text", "text": text}]
    message = [{"role": "user", "content": content}]
    words = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return processor(text=[words], images=[[scene.image]], return_tensors="pt")


def test_an_acting_prompt_is_short(processor):
    scene = room_scene(np.random.default_rng(0), 0, 3)
    ids = prompt_ids(processor, scene, "go to the red ball. Say: turn left, turn right, go forward.")["input_ids"][0]
    assert (ids == processor.tokenizer.convert_tokens_to_ids("<image>")).sum() == IMAGE_TOKENS
    assert len(ids) <= 85


@torch.no_grad()
def test_many_questions_in_one_sequence_are_answered_as_each_alone(model, processor):
    rng = np.random.default_rng(1)
    scenes = [room_scene(rng, 4, 2), *(make(rng, 3) for make, _ in FIGURES.values()), unsure_scene(rng)]
    batch = Batcher(processor)(scenes)
    together, at = answer_logits(model, batch), 0
    for scene, question in ((s, q) for s in scenes for q in s.questions):
        inputs = prompt_ids(processor, scene, question.text)
        said = torch.tensor([processor.tokenizer(question.answer + "<end>")["input_ids"]])
        start = inputs["input_ids"].shape[1] - 1
        inputs["input_ids"] = torch.cat([inputs["input_ids"], said], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        alone = model(**inputs).logits[0, start : start + said.shape[1]]
        torch.testing.assert_close(together[at : at + said.shape[1]], alone, atol=2e-4, rtol=1e-4)
        assert batch.targets[at : at + said.shape[1]].tolist() == said[0].tolist()
        at += said.shape[1]


def test_it_sees(model, processor):
    rng = np.random.default_rng(2)
    makers = [maker for maker, _ in FIGURES.values()]
    scenes = [room_scene(rng, 6, 2) for _ in range(24)] + [makers[i % 3](rng, 6) for i in range(24)]
    answers, _ = answer(model, Batcher(processor), scenes)
    right = sum(score.share * score.count for score in answers.values())
    assert right / sum(score.count for score in answers.values()) >= 0.9


def test_it_plays_and_is_neither_deaf_nor_blind():
    """The same seeds with the instruction, or the picture, taken away: the skill must go with it."""
    policy = Policy(ModelSettings(path="pilot", threads=1), LoraSettings())
    pool = WorldPool(goto_worlds())
    won = {}
    for name in ("sampled", "deaf", "blind"):
        tickets = [Ticket(f"{name} {seed}", name, seed, str(seed), 0, 0) for seed in range(9_000_000, 9_000_100)]
        won[name] = np.mean([e.success for e in collect(policy, tickets, pool)])
    assert won["sampled"] >= 0.9
    assert max(won["deaf"], won["blind"]) <= 0.55


# -- the recipe -------------------------------------------------------------------------------------------------------


def test_answers_are_in_balance():
    """No answer of a yes/no or left/right question is given more than 60 % of the time."""
    rng = np.random.default_rng(3)
    scenes = [make(rng, 20) for make, _ in FIGURES.values() for _ in range(20)]
    scenes += [room_scene(rng, 20, 0) for _ in range(60)]
    said: dict[str, list[str]] = {}
    for question in itertools.chain.from_iterable(scene.questions for scene in scenes):
        if question.kind in ("presence", "larger number", "larger card") and not question.answer.isdigit():
            said.setdefault(f"{question.kind} {question.answer in ('yes', 'no')}", []).append(question.answer)
    assert len(said) == 4
    for kind, answers in said.items():
        assert max(answers.count(a) for a in set(answers)) / len(answers) <= 0.6, kind


@torch.no_grad()
def test_the_pointer_hears_what_the_head_attends_to(model, processor):
    """Against the attention weights that Llama itself reports, renormalised over the picture's tokens."""
    eager = AutoModelForImageTextToText.from_pretrained(
        folder(), dtype=torch.float32, attn_implementation="eager"
    ).eval()
    batcher, pointer = Batcher(processor), Pointer(eager)
    batch = batcher([room_scene(np.random.default_rng(6), 4, 2) for _ in range(3)])
    weights = []
    pointer.attention.register_forward_hook(lambda module, args, out: weights.append(out[1]))
    answer_logits(eager, batch)
    pictured = len(batcher.picture)
    rows, columns, wanted = batch.points
    shares = weights[0][rows, 0, columns, :pictured]
    expected = -(shares / shares.sum(1, keepdim=True)).gather(1, wanted[:, None]).log().mean()
    torch.testing.assert_close(pointer.loss(batch, pictured), expected, atol=1e-4, rtol=1e-4)
    assert ((batch.ids[rows, wanted] == eager.config.image_token_id) | (wanted == 0)).all()


def test_room_questions_are_true():
    """Checked against the room itself, by coordinates and not by the view."""
    rng = np.random.default_rng(4)
    ahead_of = {0: (1, 0), 1: (0, 1), 2: (-1, 0), 3: (0, -1)}
    for _ in range(200):
        layout = random_room(rng)
        room = Room(layout, pose := random_pose(rng, layout))
        (ax, ay), (rx, ry) = ahead_of[pose[2]], ahead_of[(pose[2] + 1) % 4]
        for (column, row), thing in zip(layout.cells, layout.things, strict=True):
            dx, dy = column - pose[0], row - pose[1]
            place = (dx * ax + dy * ay, dx * rx + dy * ry)
            assert room.seen.get(thing) == (place if place[0] >= 0 else None)
        question = ROOM_QUESTIONS["presence"][0](room, rng)
        colour, kind = question.text.removesuffix("?").split()[-2:]
        assert question.answer == ("yes" if (kind, colour) in room.seen else "no")


def test_unknown_commands_have_every_answer():
    rng = np.random.default_rng(5)
    drawn = [q for _ in range(40) for q in unsure_scene(rng).questions if q.kind in UNDECIDED]
    turns = [q.answer for q in drawn if q.kind == "unsure" and q.answer != "go forward"]
    assert 0.25 < turns.count("turn left") / len(turns) < 0.75


def test_other_names_tell_what_to_do_and_their_places_do_not():
    """A list's order says nothing: each action stands first, second and third alike. New names stand for each alike."""
    rng = np.random.default_rng(6)
    places, new = np.zeros((3, 3)), np.zeros(3)
    for _ in range(3000):
        names, order = controls(rng)
        assert len(set(names)) == 3
        if names == ACTIONS:
            continue
        for place, action in enumerate(order):
            places[action, place] += 1
        for action, name in enumerate(names):
            assert (name in WAYS[action]) != (name in NAMELESS)
            new[action] += name in NAMELESS
    assert np.abs(places / places.sum() - 1 / 9).max() < 0.02
    assert np.abs(new / new.sum() - 1 / 3).max() < 0.06


def test_the_default_streams_new_names_are_not_taught():
    taught = {word for names in WAYS for name in names for word in name.split()}
    default = load_stream("default")
    renamed = [d["names"] for r in default.regimes.values() for d in r.world.drift if d["type"] == "renamed"]
    assert renamed
    assert not {word for names in renamed for name in names.values() for word in name.split()} & taught
    assert not set(NAMELESS) & taught


def test_what_has_no_answer_comes_late_and_teaches_the_upper_layers_only(model, processor):
    """Behind the last sheltered layer, no gradient comes back at the words of such questions; at others it does."""
    recipe = Recipe(steps=100, early=10, late=0.65, batch=200)
    unsure = [
        sum(q.kind == "unsure" for s in draw_scenes(np.random.default_rng(7), recipe, step) for q in s.questions)
        for step in (0, 64, 65)
    ]
    assert unsure[:2] == [0, 0]
    assert unsure[2] > 0
    rng = np.random.default_rng(8)
    scenes = [room_scene(rng, 2, 2), unsure_scene(rng), unsure_scene(rng)]
    batch, seen = Batcher(processor)(scenes), []
    keep = model.model.text_model.layers[SHELTERED_LAYERS - 1].register_forward_hook(
        lambda module, args, out: (out.retain_grad(), seen.append(out))[0]
    )
    torch.nn.functional.cross_entropy(answer_logits(model, batch), batch.targets).backward()
    keep.remove()
    model.zero_grad()
    steep = seen[0].grad.abs().sum(-1)
    assert batch.undecided.any()
    assert (steep[batch.undecided] == 0).all()
    assert steep[batch.rows, batch.columns][~batch.undecided[batch.rows, batch.columns]].min() > 0


def test_the_rate_rises_stays_and_falls():
    recipe = Recipe(steps=1000, warm_up=100, cool_down=0.5, rate=1.0)
    assert [learning_rate(recipe, step) for step in (0, 99, 500, 750, 999)] == [0.01, 1.0, 1.0, 0.5, 0.01]


def test_training_resumed_equals_training_never_stopped(tmp_path, monkeypatch):
    recipe = Recipe(steps=2, tile_steps=1, early=1, batch=4, keep_every=1)
    Trainer(recipe, tmp_path / "whole").run()

    def power_cut(trainer, rng):
        if trainer.step == 1:
            raise KeyboardInterrupt
        return update(trainer, rng)

    update = Trainer._update
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", power_cut)
        with pytest.raises(KeyboardInterrupt):
            Trainer(recipe, tmp_path / "parts").run()
    again = Trainer(recipe, tmp_path / "parts")
    assert again.step == 1
    again.run()
    whole = Trainer(recipe, tmp_path / "whole").model.state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in again.model.state_dict().items())


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    recipe = Recipe(steps=0, tile_steps=1, batch=4)
    Trainer(recipe, tmp_path).run()
    with pytest.raises(UserError, match="another recipe"):
        Trainer(replace(recipe, seed=1), tmp_path)
