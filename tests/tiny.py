"""A random Idefics3 of 50 k parameters in Hugging Face format: real code paths, no skill."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}\n"
)


def tokenizer(*special: str, **named: Any) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with these special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokens = ["<pad>", "<end>", *special]
    trainer = trainers.BpeTrainer(
        vocab_size=314 + len(tokens), special_tokens=tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(["turn left turn right go forward say the word red ball"] * 4, trainer)
    if not named:
        named["additional_special_tokens"] = list(special)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<end>", **named)


def build_tiny(folder: Path, seed: int = 0) -> Path:
    """Write the model's folder and return it."""
    words = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 56}, do_image_splitting=False
    )
    Idefics3Processor(pictures, words, image_seq_len=4, chat_template=TEMPLATE).save_pretrained(folder)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(seed)
    config = Idefics3Config(
        vision_config={**vision, "image_size": 56, "patch_size": 28},
        text_config={
            **text, "model_type": "llama", "num_key_value_heads": 2, "vocab_size": len(words),
            "max_position_embeddings": 256, "initializer_range": 0.2, "tie_word_embeddings": True,
            "pad_token_id": words.pad_token_id,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=1, tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    return folder
