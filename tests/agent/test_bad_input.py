"""Folders, worlds and texts that can't work: each is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.component import UserError
from envs.types import Observation
from tests.tiny_families import build_family

CHOICES = ("turn left", "turn right")


def load(folder: Path) -> Policy:
    return Policy(ModelSettings(path=str(folder), threads=1), LoraSettings(rank=4))


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return load(tiny_folder)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that may be broken."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_missing_processor(folder: Path) -> None:
    (folder / "processor_config.json").unlink()
    with pytest.raises(UserError, match=r"no preprocessor_config\.json or processor_config\.json in .*copy"):
        load(folder)


def test_a_missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="does not load"):
        load(folder)


def test_an_unknown_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "seer"}')
    with pytest.raises(UserError, match=r"does not load.*seer"):
        load(folder)


def test_a_model_that_makes_no_text(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match="does not load"):
        load(folder)


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    some = {name: value for name, value in weights(folder).items() if "layers.1.mlp.up_proj" not in name}
    save_file(some, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the model's weights \(.*layers\.1\.mlp\.up_proj.*would be random"):
        load(folder)


def test_nan_in_the_weights(folder: Path) -> None:
    all_of_them = weights(folder)
    name = next(name for name in all_of_them if "layers.0.mlp.up_proj" in name)
    all_of_them[name][0, 0] = float("nan")
    save_file(all_of_them, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"weights of .*up_proj\.weight hold NaN"):
        load(folder)


def test_a_chat_template_that_fails(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('system first') }}")
    with pytest.raises(UserError, match="chat template fails: system first"):
        load(folder).table(Observation("hello"), CHOICES)


@pytest.mark.parametrize("text", ["stop <end> here", "an <fake_token_around_image>"])
def test_a_world_that_forges_control_tokens(policy: Policy, text: str) -> None:
    with pytest.raises(UserError, match=r"control token '<.*>', which would be taken for more than words"):
        policy.table(Observation(text), CHOICES)


def test_an_answer_that_forges_control_tokens(policy: Policy) -> None:
    with pytest.raises(UserError, match="the answer 'show <image>' holds the model's control token '<image>'"):
        policy.table(Observation("hello"), ("go", "show <image>"))


def test_answers_that_tokenize_alike(policy: Policy) -> None:
    with pytest.raises(UserError, match="'go' and 'go' tokenize alike"):
        policy.table(Observation("hello"), ("go", "go"))


def test_a_family_that_wants_a_picture_in_every_prompt(tmp_path: Path) -> None:
    policy = load(build_family("paligemma", tmp_path))
    with pytest.raises(UserError, match=r"refuses a prompt with no pictures: .*images"):
        policy.table(Observation("hello"), CHOICES)


def test_a_picture_that_the_processor_refuses(tmp_path: Path) -> None:
    policy = load(build_family("qwen2_vl", tmp_path))
    strip = np.zeros((4, 900, 3), dtype=np.uint8)
    with pytest.raises(
        UserError, match="refuses a prompt with 4x900x3: absolute aspect ratio must be smaller than 200"
    ):
        policy.table(Observation("<image>look", (strip,)), CHOICES)
