"""Adapters: mixed, put elsewhere than in the language tower, and never saved unless what was written says the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.embedders.lvlm import LvlmEmbedder
from agent.finite import NotFinite
from agent.lvlm.adapters import IDENTITY_FILE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.component import UserError
from envs.types import Observation
from tests.tiny_families import build_family

CHOICES = ("turn left", "turn right", "go forward")


def build(folder: Path, **lora: Any) -> Policy:
    return Policy(ModelSettings(path=str(folder), threads=1), LoraSettings(rank=4, **lora))


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    policy = build(tiny_folder)
    shake(policy, "champion", 1)
    policy.discard()
    return policy


def shake(policy: Policy, adapter: str, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(adapter).values():
            tensor += 0.3 * torch.randn_like(tensor)


def observe(seed: int) -> Observation:
    picture = np.random.default_rng(seed).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    return Observation("<image>go to the red ball", (picture,))


def test_interpolation_goes_from_the_champion_to_the_candidate(policy: Policy) -> None:
    champion = {name: tensor.clone() for name, tensor in policy.adapters.tensors("champion").items()}
    policy.fork()
    shake(policy, "candidate", 2)
    candidate = {name: tensor.clone() for name, tensor in policy.adapters.tensors("candidate").items()}
    whole = policy.version
    policy.interpolate(1.0)
    assert policy.version == whole
    policy.interpolate(0.25)
    for name, tensor in policy.adapters.tensors("candidate").items():
        assert torch.allclose(tensor, 0.75 * champion[name] + 0.25 * candidate[name], atol=1e-6)
        assert torch.equal(policy.adapters.tensors("champion")[name], champion[name])
    policy.interpolate(0.0)
    with policy.using("champion"):
        version = policy.version
    assert policy.version == version
    policy.discard()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_interpolation_stays_between(policy: Policy, alpha: float) -> None:
    with pytest.raises(UserError, match=r"alpha is .*: give a share of the way, from 0 to 1"):
        policy.interpolate(alpha)


def test_a_saved_adapter_says_what_it_is(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path / "one")
    about = json.loads((tmp_path / "one" / IDENTITY_FILE).read_text())
    assert about["base"] == policy.checkpoint.identity
    assert about["version"] == policy.version
    assert (about["rank"], about["alpha"], about["adapted"]) == (4, 32.0, policy.adapters.modules)
    assert not (tmp_path / "one.tmp").exists()


def test_a_save_that_would_not_reload_to_the_same_is_no_save(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are those that were saved, but the config beside them scales them otherwise."""
    real = policy.adapters.peft.save_pretrained

    def save(folder: str, **how: Any) -> None:
        real(folder, **how)
        path = Path(folder) / "champion" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 16.0}))

    version = policy.version
    monkeypatch.setattr(policy.adapters.peft, "save_pretrained", save)
    with pytest.raises(RuntimeError, match=r"says something else than what was saved, by .* nats"):
        policy.save(tmp_path / "one")
    assert not (tmp_path / "one").exists()
    assert policy.version == version
    assert set(policy.adapters.peft.peft_config) == {"champion", "candidate"}


def test_an_adapter_that_is_no_numbers_is_not_saved(policy: Policy, tmp_path: Path) -> None:
    policy.fork()
    with torch.no_grad():
        policy.parameters()[0][0] = float("nan")
    with pytest.raises(NotFinite, match="the adapter's log-probs are not finite"):
        policy.save(tmp_path / "one")
    policy.discard()
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("part", ["projector", "vision"])
@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
def test_pictures_can_be_learned_too(family: str, part: str, tiny_folder: Path, tmp_path: Path) -> None:
    """Each layer outside the language tower is reached by the gradient, saved, and reloaded."""
    folder = tiny_folder if family == "idefics3" else build_family(family, tmp_path / family)
    policy = build(folder, last_layers=1, **{part: True})
    shake(policy, "champion", 3)
    policy.fork()
    seeing = [n for n in policy.adapters.modules if not n.startswith(policy.checkpoint.tower)]
    between = [n for n in seeing if "connector" in n or "merger" in n]
    assert seeing
    assert between == (seeing if part == "projector" else [])
    embedder = LvlmEmbedder(policy)
    before, vector = policy.table(observe(0), CHOICES), embedder.embed([observe(0)])
    table = policy.score([policy.ask(observe(0), CHOICES)]).table
    assert table is not None
    assert np.allclose(table.detach().exp().numpy()[0], list(before.values()), atol=1e-5)
    table[0, 0].backward()
    grads = {name: p.grad for name, p in policy.adapters.tensors("candidate").items()}
    assert all(float(grads[n].abs().max()) > 0 for n in grads if any(s in n for s in seeing))  # type: ignore[union-attr]
    with torch.no_grad():
        for name, tensor in policy.adapters.tensors("candidate").items():
            if any(s in name for s in seeing):
                tensor += 0.3
    policy.adopt()
    after = policy.table(observe(0), CHOICES)
    assert not np.allclose(list(after.values()), list(before.values()), atol=1e-3)
    assert np.array_equal(embedder.embed([observe(0)]), vector), "vectors of different cycles can be compared"
    policy.save(tmp_path / "one")
    policy.adapters.copy("candidate", "champion")
    shake(policy, "champion", 4)
    policy.load_champion(tmp_path / "one")
    assert policy.table(observe(0), CHOICES) == after


def test_a_model_without_eyes_has_none_to_adapt(tmp_path: Path) -> None:
    folder = build_family("llama", tmp_path)
    with pytest.raises(UserError, match=r"lora\.vision is true, but a LlamaForCausalLM has no linear layers there"):
        build(folder, vision=True)
    with pytest.raises(UserError, match=r"lora\.modules is empty"):
        build(folder, modules=())
    with pytest.raises(UserError, match="the language tower has no such layers"):
        build(folder, modules=("qkv",))
