"""Every checkpoint family against its own plain forward: one row, no padding, its own processor, nothing kept."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm

from agent.batch import Sample
from agent.lvlm import checkpoint
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.speech import Speech
from agent.lvlm.tower import LlamaTower
from agent.policy import Policy
from envs.component import UserError
from envs.types import Observation
from tests.plain import closed_log_probs
from tests.tiny import build_tiny
from tests.tiny_families import FAMILIES, TEXT_FAMILIES, build_family, words_only

CHAIN = ("turn left", "turn right", "go forward")
TREE = ("go", "go forward", "turn", "turn left", "turn right", "x y z", "x q z")
QUICK = {"llava", "llava_next", "llava_onevision", "idefics2", "idefics3", "smolvlm", "internvl", "llama", "granite"}
APART = {"paligemma", "gemma3", "aya_vision", "lfm2_vl", "gemma2"}
"""Branches of a prompt can't stand side by side: prefix or pictures see both ways, windows, convolutions."""


@pytest.fixture(scope="module", params=[*FAMILIES, "idefics3", *TEXT_FAMILIES])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def policy(family: str, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A tiny random checkpoint of the family with a champion that matters."""
    folder = tmp_path_factory.mktemp(family)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing_smolvlm, "num2words", str)  # an optional package, for videos alone
        if family == "lfm2_vl":  # its processor can't be read from a folder without torchvision
            patch.setattr(checkpoint, "read_processor", lambda *_: FAMILIES["lfm2_vl"]()[1])
        if family == "idefics3":
            build_tiny(folder)
        else:
            build_family(family, folder)
        policy = Policy(ModelSettings(path=str(folder), threads=1), LoraSettings(rank=4), speech=Speech(longest=5))
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in policy.adapters.tensors("champion").values():
            tensor += 0.1 * torch.randn_like(tensor)
    policy.discard()
    return policy


def picture(seed: int, height: int = 56, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def observations(family: str) -> list[Observation]:
    """One, two and no pictures, of two shapes, among texts of several lengths."""
    texts = [Observation("go"), Observation("a rather longer text than the others, to be padded for")]
    if family in TEXT_FAMILIES:
        return texts
    seen = [
        Observation("<image>go to the red ball", (picture(0),)),
        Observation("before<image>then<image>now, a longer text than the other", (picture(1), picture(2, 56, 112))),
        Observation("<image>turn", (picture(3, 112, 56),)),
    ]
    return seen if family == "paligemma" else seen + texts


def plain_logits(policy: Policy, observation: Observation, tokens: np.ndarray) -> torch.Tensor:
    """Logits `[T, V]` that predict each of `tokens`, by the model's own forward on the processor's own output."""
    text = policy.prompter.render(observation.text.split("<image>"))
    if policy.checkpoint.sees:
        drawn = [[Image.fromarray(image) for image in observation.images]] if observation.images else None
        given = dict(policy.checkpoint.processor(text=[text], images=drawn, return_tensors="pt"))
    else:
        given = dict(policy.checkpoint.processor([text], return_tensors="pt"))
    given = {name: value for name, value in given.items() if name != "labels"}
    start, more = given["input_ids"].shape[1], len(tokens)
    suffix = int(policy.checkpoint.model.config.model_type == "paligemma")  # its type of what sees only backwards
    for name, fill in {"attention_mask": 1, "token_type_ids": suffix, "mm_token_type_ids": 0}.items():
        if name in given:
            given[name] = torch.cat([given[name], torch.full((1, more), fill)], 1)
    if "cross_attention_mask" in given:
        last = given["cross_attention_mask"][:, -1:]
        given["cross_attention_mask"] = torch.cat([given["cross_attention_mask"], last.expand(-1, more, -1, -1)], 1)
    given["input_ids"] = torch.cat([given["input_ids"], torch.from_numpy(tokens)[None]], 1)
    with torch.no_grad():
        return policy.checkpoint.model(**given).logits[0, start - 1 : -1].float()


def plain_open(policy: Policy, observation: Observation, tokens: np.ndarray) -> np.ndarray:
    logits = plain_logits(policy, observation, tokens)
    logits[:, policy.banned] = -torch.inf
    return torch.log_softmax(logits, -1)[range(len(tokens)), tokens.tolist()].numpy()


def plain_closed(policy: Policy, observation: Observation, choices: tuple[str, ...]) -> np.ndarray:
    """Log-probs of the answers, each decision renormalised over what the set allows there."""
    answers = [policy.prompter.answer(text) for text in choices]
    return closed_log_probs(answers, partial(plain_logits, policy, observation))


def test_the_quick_way_is_taken_where_it_is_right(policy: Policy, family: str) -> None:
    assert (family in QUICK) == isinstance(policy.engine.tower, LlamaTower)
    assert (family in APART) != policy.engine.whole.branches


@pytest.mark.parametrize("choices", [CHAIN, TREE], ids=["chain", "tree"])
def test_closed_probabilities(policy: Policy, family: str, choices: tuple[str, ...]) -> None:
    """A batch of all prompts, each padded on the right, says what each (of a tree: every third) says alone."""
    asked = observations(family)
    with torch.no_grad():
        table = policy.score([policy.ask(o, choices) for o in asked]).table
    assert table is not None
    for row, observation in list(zip(table, asked, strict=True))[:: 1 if choices == CHAIN else 3]:
        assert np.allclose(row.numpy(), plain_closed(policy, observation, choices), atol=1e-5)
    alone = policy.table(asked[1], choices)
    assert np.allclose(np.log([alone[c] for c in choices]), table[1].numpy(), atol=1e-5)


def test_open_answers(policy: Policy, family: str) -> None:
    """Sampled with padding on the left and a cache, scored with padding on the right: both are the plain forward's.

    Some are asked twice, and share a prompt while each is answered by its own luck.
    """
    asked = [*observations(family), *observations(family)[:2]]
    replies = policy.act(asked, [None] * len(asked), [np.random.default_rng(i) for i in range(len(asked))])
    samples = [Sample(o, None, r.tokens, r.logprobs) for o, r in zip(asked, replies, strict=True)]
    with torch.no_grad():
        scored = policy.score(samples)
    for i, (observation, reply, row) in enumerate(zip(asked, replies, scored.logprobs, strict=True)):
        expected = plain_open(policy, observation, reply.tokens)
        assert np.allclose(reply.logprobs, expected, atol=1e-5)
        assert np.allclose(row[: len(reply.tokens)].numpy(), expected, atol=1e-5)
        alone = policy.act([observation], [None], [np.random.default_rng(i)])[0]
        assert np.array_equal(alone.tokens, reply.tokens)
        assert np.allclose(alone.logprobs, reply.logprobs, atol=1e-5)


def test_the_last_state_of_a_prompt(policy: Policy, family: str) -> None:
    """What the critic sees is what the family's own forward hands to its head there, whatever answer stands behind."""
    asked = observations(family)[:3]
    said = policy.prompter.answer("go forward")
    samples = [policy.ask(o, TREE) for o in asked] + [Sample(o, None, said, np.zeros(len(said))) for o in asked]
    with torch.no_grad():
        states = policy.score(samples, states=True).states
        assert policy.score(samples).states is None
    assert states is not None
    assert states.dtype == torch.float32
    seen: list[torch.Tensor] = []
    hook = policy.engine.head.register_forward_pre_hook(lambda _, given: seen.append(given[0][0, -1 - len(said)]))
    for observation in asked:
        plain_logits(policy, observation, said)
    hook.remove()
    for i, expected in enumerate(seen):
        assert np.allclose(states[i].numpy(), expected.numpy(), atol=1e-5)
        assert np.allclose(states[i + len(asked)].numpy(), expected.numpy(), atol=1e-5)


def test_many_answers_to_one_prompt(policy: Policy, family: str) -> None:
    """They share its prompt, and some their first words, and are scored as if each were alone; gradients flow."""
    texts = ("go", "go forward", "turn left now", "turn right", "x")
    prompts = observations(family)[:2]
    samples = [
        Sample(o, None, policy.prompter.answer(text), np.zeros(len(policy.prompter.answer(text)), dtype=np.float32))
        for o in prompts
        for text in texts
    ]
    with torch.no_grad():
        sums = policy.score(samples).sums
    expected = [plain_open(policy, s.observation, s.tokens).sum() for s in samples]
    assert np.allclose(sums.numpy(), expected, atol=1e-5)
    policy.fork()
    assert np.allclose(policy.score(samples).sums.detach().numpy(), expected, atol=1e-5)
    policy.discard()


def test_fork_update_save_reload(policy: Policy, family: str, tmp_path: Path) -> None:
    """One step towards an answer makes it likelier; the champion stays; a saved candidate reloads to the same."""
    asked = observations(family)[0]
    before = policy.table(asked, CHAIN)
    policy.fork()
    table = policy.score([policy.ask(asked, CHAIN)]).table
    assert table is not None
    (-table[0, 1]).backward()
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
                parameter.grad = None
    after = policy.table(asked, CHAIN)
    assert after[CHAIN[1]] > before[CHAIN[1]]
    with policy.using("champion"):
        assert policy.table(asked, CHAIN) == before
    policy.save(tmp_path / "candidate")
    policy.discard()
    policy.load_champion(tmp_path / "candidate")
    assert policy.table(asked, CHAIN) == after


def test_pictures_are_looked_at_once(policy: Policy, family: str) -> None:
    if family in TEXT_FAMILIES:
        with pytest.raises(UserError, match="this is a text-only model"):
            policy.table(Observation("<image>look", (picture(0),)), CHAIN)
        return
    asked = Observation("<image>look", (picture(77),))
    policy.table(asked, CHAIN)
    before = policy.vision.tally.hits, policy.vision.tally.misses
    said = policy.table(asked, CHAIN)
    assert (policy.vision.tally.hits, policy.vision.tally.misses) == (before[0] + 1, before[1])
    assert policy.table(Observation("<image>look", (picture(78),)), CHAIN) != said
    assert 0 < policy.vision.tally.rate < 1


def test_only_language_layers_are_adapted(policy: Policy) -> None:
    tower = policy.checkpoint.tower
    assert all(name.startswith(f"{tower}.layers.") for name in policy.adapters.modules)
    assert "vision" not in tower


@pytest.mark.parametrize("changes", [{}, {"clip_qkv": 8.0}], ids=["plain", "clipped"])
def test_what_a_short_trial_may_not_reach_is_asked_for(changes: dict[str, float], tmp_path: Path) -> None:
    """OLMo's layers are Llama's, but for values cut off where they get large: no trial says that they never do."""
    model, words = words_only("olmo", **changes)()
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    policy = Policy(ModelSettings(path=str(tmp_path), threads=1), LoraSettings(rank=4))
    assert (policy.engine.tower is None) == bool(changes)
