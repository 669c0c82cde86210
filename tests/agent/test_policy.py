"""The policy on a tiny random checkpoint, against the checkpoint's own plain forward as the oracle."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.batch import Sample
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.engine import Engine
from agent.lvlm.speech import Speech
from agent.lvlm.tower import LlamaTower
from agent.policy import Policy
from envs.component import UserError
from envs.types import Observation
from tests.plain import closed_log_probs
from tests.tiny import build_tiny

TREE = ("go", "go forward", "turn", "turn left", "turn right", "x y z", "x q z")
CHAIN = ("turn left", "turn right", "go forward")


@pytest.fixture(scope="module", params=[0, 1], ids=["all layers", "last layer"])
def policy(request: pytest.FixtureRequest, tiny_folder: Path) -> Policy:
    """With adapters in every layer, and with a lower layer whose states are kept."""
    lora = LoraSettings(rank=4, last_layers=request.param)
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), lora, speech=Speech(longest=6))
    assert isinstance(policy.engine.tower, LlamaTower)
    assert policy.engine.tower.split == request.param
    shake(policy, 0.3)
    return policy


def shake(policy: Policy, scale: float) -> None:
    """Give the champion weights that matter."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in policy.adapters.tensors("champion").values():
            tensor += scale * torch.randn_like(tensor)
    policy.discard()


def observe(seed: int, text: str = "go to the red ball") -> Observation:
    picture = np.random.default_rng(seed).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    return Observation(f"<image>{text}", (picture,))


def plain_logits(policy: Policy, observation: Observation, tokens: np.ndarray) -> torch.Tensor:
    """Logits `[T, V]` that predict each of `tokens`, by the model's own forward with its processor's pixels."""
    prompt = policy.prompter.prompt(observation).ids
    images = {}
    if observation.images:
        processed = policy.checkpoint.processor.image_processor(images=[list(observation.images)], return_tensors="pt")
        images = {key: processed[key] for key in ("pixel_values", "pixel_attention_mask")}
    ids = torch.from_numpy(np.concatenate([prompt, tokens]))[None]
    with torch.no_grad():
        return policy.checkpoint.model(input_ids=ids, **images).logits[0, len(prompt) - 1 : -1]


@pytest.mark.parametrize("choices", [CHAIN, TREE])
def test_closed_probabilities_are_the_plain_forwards_renormalised(policy: Policy, choices: tuple[str, ...]) -> None:
    observation = observe(0)
    answers = [policy.prompter.answer(text) for text in choices]
    expected = closed_log_probs(answers, partial(plain_logits, policy, observation))
    assert np.isclose(np.exp(expected).sum(), 1.0)
    table = policy.table(observation, choices)
    assert np.allclose([table[c] for c in choices], np.exp(expected), atol=1e-5)


def test_open_scores_are_the_plain_forwards(policy: Policy) -> None:
    observation = observe(1)
    reply = policy.act([observation], [None], [np.random.default_rng(0)])[0]
    logits = plain_logits(policy, observation, reply.tokens)
    logits[:, policy.banned] = -torch.inf
    expected = torch.log_softmax(logits, -1)[range(len(reply.tokens)), reply.tokens.tolist()]
    assert np.allclose(reply.logprobs, expected.numpy(), atol=1e-5)
    with torch.no_grad():
        scored = policy.score([Sample(observation, None, reply.tokens, reply.logprobs)])
    assert np.allclose(scored.logprobs[0].numpy(), expected.numpy(), atol=1e-5)


def test_what_was_sampled_is_scored_the_same_in_any_company(policy: Policy) -> None:
    """First importance ratio 1 to 1e-4; a single sample equals its place in a mixed batch to 1e-5."""
    texts = ["go to the red ball", "go", "a rather longer text than the others, to be padded for"]
    observations = [observe(i, texts[i % 3]) for i in range(9)] + [Observation("no picture here")]
    choices = [CHAIN, TREE, None] * 3 + [CHAIN]
    replies = policy.act(observations, choices, [np.random.default_rng(i) for i in range(10)])
    samples = [Sample(o, c, r.tokens, r.logprobs) for o, c, r in zip(observations, choices, replies, strict=True)]
    with torch.no_grad():
        together = policy.score(samples)
        alone = [policy.score([sample]) for sample in samples]
    sums = np.array([r.logprobs.sum() for r in replies])
    assert np.allclose(np.exp(together.sums.numpy() - sums), 1.0, atol=1e-4)
    assert np.allclose([float(a.sums) for a in alone], together.sums.numpy(), atol=1e-5)
    assert np.allclose([float(a.entropy) for a in alone], together.entropy.numpy(), atol=1e-5)


def test_a_token_budget_changes_nothing(policy: Policy) -> None:
    samples = [policy.ask(observe(i), CHAIN) for i in range(7)]
    whole = policy.score(samples).table
    policy.budget.tokens, before = 40, policy.budget.tokens
    try:
        cut = policy.score(samples).table
    finally:
        policy.budget.tokens = before
    assert whole is not None
    assert cut is not None
    assert torch.allclose(whole, cut, atol=1e-5)


def test_merged_weights_say_the_same_and_leave_no_trace(policy: Policy) -> None:
    samples = [policy.ask(observe(i), TREE) for i in range(5)]
    base = {n: p.clone() for n, p in policy.checkpoint.model.named_parameters()}
    with torch.no_grad():
        merged = policy.score(samples).table
    added = policy.score(samples).table
    assert merged is not None
    assert added is not None
    assert torch.allclose(merged, added, atol=1e-5)
    assert not torch.allclose(added, _base_table(policy, samples), atol=1e-3)
    assert all(torch.equal(p, base[n]) for n, p in policy.checkpoint.model.named_parameters())


def _base_table(policy: Policy, samples: list[Sample]) -> torch.Tensor:
    with policy.using("base"):
        table = policy.score(samples).table
    assert table is not None
    return table


def test_sampling_follows_the_probabilities(policy: Policy) -> None:
    """4000 draws, 3 answers: each frequency within 4 standard errors (0.032)."""
    observation = observe(2)
    replies = policy.act([observation] * 4000, [CHAIN] * 4000, [np.random.default_rng([7, i]) for i in range(4000)])
    table = policy.table(observation, CHAIN)
    for text in CHAIN:
        assert abs(np.mean([r.text == text for r in replies]) - table[text]) < 0.032


def test_only_the_language_tower_is_adapted(policy: Policy) -> None:
    adapted = 2 - policy.engine.tower.split
    assert len(policy.adapters.modules) == 7 * adapted
    assert all(name.startswith("model.text_model.layers.") for name in policy.adapters.modules)
    trainable = {name for name, p in policy.checkpoint.model.named_parameters() if p.requires_grad}
    assert trainable == set()
    policy.fork()
    trainable = {name for name, p in policy.checkpoint.model.named_parameters() if p.requires_grad}
    policy.discard()
    assert len(trainable) == 14 * adapted
    assert all(".lora_" in name and ".candidate." in name for name in trainable)


def test_fork_adopt_discard(policy: Policy) -> None:
    champion = policy.version
    policy.fork()
    assert policy.version == champion
    with torch.no_grad():
        policy.parameters()[0].add_(1.0)
    changed = policy.version
    assert changed != champion
    with policy.using("champion"):
        assert policy.version == champion
    policy.discard()
    assert policy.version == champion
    policy.fork()
    assert policy.version == champion
    with policy.using("base"):
        assert policy.version == "base"


def test_a_saved_adapter_reloads_to_the_same_log_probs_also_in_plain_peft(policy: Policy, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    sample = policy.ask(observe(3), TREE)
    before, version = policy.table(observe(3), TREE), policy.version
    policy.save(tmp_path / "one")
    shake(policy, 0.2)
    assert policy.version != version
    policy.load_champion(tmp_path / "one")
    assert policy.version == version
    assert policy.table(observe(3), TREE) == before
    base = AutoModelForImageTextToText.from_pretrained(policy.checkpoint.folder, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, tmp_path / "one").eval()
    ids = torch.from_numpy(np.concatenate([policy.prompter.prompt(Observation("hello")).ids, sample.tokens]))[None]
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=ids).logits, policy.checkpoint.model(input_ids=ids).logits, atol=1e-5)


def test_an_adapter_of_another_base_is_refused(policy: Policy, tmp_path: Path) -> None:
    other = Policy(ModelSettings(path=str(build_tiny(tmp_path / "b", seed=5)), threads=1), LoraSettings(rank=4))
    other.save(tmp_path / "theirs")
    with pytest.raises(UserError, match="was trained on another base model"):
        policy.load_champion(tmp_path / "theirs")


def test_a_damaged_adapter_is_refused(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path / "one")
    path = tmp_path / "one" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        policy.load_champion(tmp_path / "one")


def test_a_picture_seen_twice_is_computed_once(tiny_folder: Path) -> None:
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    policy.score([policy.ask(observe(0), CHAIN), policy.ask(observe(1), CHAIN)])
    policy.score([policy.ask(observe(0), CHAIN)])
    assert (policy.vision.tally.misses, policy.vision.tally.hits) == (2, 1)
    policy.vision.kept.limit_bytes = 0
    policy.score([policy.ask(observe(2), CHAIN)])
    assert policy.vision.kept.bytes == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [("/nowhere", "no config.json in /nowhere"), ("tests", "Give 'pilot', or the folder of a checkpoint")],
)
def test_a_missing_model_says_what_to_give(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Policy(ModelSettings(path=path), LoraSettings())


def test_a_prompt_is_never_cut(policy: Policy) -> None:
    with pytest.raises(UserError, match="prompts are never cut"):
        policy.table(observe(0, "word " * 400), CHAIN)


def test_marks_and_images_must_agree(policy: Policy) -> None:
    with pytest.raises(UserError, match="0 images and 1 <image> marks"):
        policy.table(Observation("<image>look"), CHAIN)


def test_kept_states_follow_the_prompt(policy: Policy) -> None:
    """The second time nothing below the adapters is run; another picture or text is never mistaken for it."""
    first = policy.table(observe(40), CHAIN)
    kept = policy.engine.kept.bytes
    assert policy.table(observe(40), CHAIN) == first
    assert policy.engine.kept.bytes == kept
    assert policy.table(observe(41), CHAIN) != first
    assert policy.table(observe(40, "go to the blue ball"), CHAIN) != first
    assert policy.table(observe(40), TREE) != first
    assert (policy.engine.kept.bytes > 0) == bool(policy.engine.tower.split)


def test_a_tower_of_another_make_is_run_whole(policy: Policy) -> None:
    """A last layer that does more than Llama's fails the trial at load."""
    handle = policy.checkpoint.text_tower.layers[-1].self_attn.register_forward_hook(changed)
    engine = Engine(policy.checkpoint, policy.prompter.pad, 1, 2**20)
    handle.remove()
    assert engine.tower is None
    assert isinstance(Engine(policy.checkpoint, policy.prompter.pad, 1, 2**20).tower, LlamaTower)


def changed(_module: object, _given: object, out: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return out[0] + 1.0, *out[1:]


def test_gradients_are_those_of_the_whole_tower(policy: Policy) -> None:
    samples = [policy.ask(observe(i), TREE) for i in range(4)]
    policy.fork()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter /= 3  # as it is, rounding alone moves its gradients by more than what is allowed here
    grads = []
    quick = policy.engine.tower
    for policy.engine.tower in (quick, None):
        table = policy.score(samples).table
        assert table is not None
        table[:, 2].sum().backward()
        grads.append([p.grad.clone() for p in policy.parameters() if p.grad is not None])
        for p in policy.parameters():
            p.grad = None
    policy.engine.tower = quick
    policy.discard()
    assert len(grads[0]) == len(policy.parameters())
    assert all(torch.allclose(a, b, atol=1e-5 * float(a.abs().max())) for a, b in zip(*grads, strict=True))
