"""Prompts as the checkpoint's own processor and chat template make them."""

from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.types import Observation
from tests.tiny import tokenizer
from tests.tiny_families import build_family

TEMPLATES = {
    "none": None,
    "with its own first token": "<bos>{{ messages[0]['content'] }}",
    "without": "{{ messages[0]['content'] }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_begins_with_one_first_token(name: str, tmp_path: Path) -> None:
    """Whether the tokenizer writes it, or the chat template, or both would."""
    words = tokenizer("<bos>", bos_token="<bos>")
    first = words.convert_tokens_to_ids("<bos>")
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", first)])
    words.chat_template = TEMPLATES[name]
    words.save_pretrained(build_family("llama", tmp_path))
    policy = Policy(ModelSettings(path=str(tmp_path), threads=1), LoraSettings(rank=4))
    ids = policy.prompter.prompt(Observation("go left")).ids.tolist()
    assert ids == [first, *words("go left", add_special_tokens=False)["input_ids"]]


def test_an_answer_is_its_words_and_the_end(tiny_folder: Path) -> None:
    prompter = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4)).prompter
    ids = prompter.answer("turn left")
    assert ids[-1] == prompter.tokenizer.eos_token_id
    assert prompter.decode(ids) == "turn left"
