"""The pilot's shape at another width, with random weights: what the same code reaches where products are larger."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings, pilot_folder
from agent.lvlm.speech import Speech
from agent.policy import Policy

HEAD = 64
MODEL_FILES = ("*.safetensors", "config.json")


@contextmanager
def wide_policy(width: int, speech: Speech, threads: int) -> Iterator[Policy]:
    """A policy like the pilot's whose language tower is `width` wide."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(pilot_folder(), folder, ignore=shutil.ignore_patterns(*MODEL_FILES), dirs_exist_ok=True)
        config = AutoConfig.from_pretrained(pilot_folder())
        text = config.text_config
        text.hidden_size, text.intermediate_size, text.head_dim = width, 9 * width // 4, HEAD
        text.num_attention_heads = text.num_key_value_heads = width // HEAD
        torch.manual_seed(0)
        AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(folder)
        yield Policy(ModelSettings(path=str(folder), threads=threads), LoraSettings(), speech=speech)


def wide_share(width: int, threads: int, speech: Speech, share: Callable[[Policy], dict[str, float]]) -> float:
    """The share of the best product's rate that `share` measures on a policy of this width."""
    with wide_policy(width, speech, threads) as policy:
        (value, *_) = share(policy).values()
        return value
