"""The untrained pilot: tokenizer, processor and an Idefics3 model with one image token for each tile of 8x8 pixels.

With the usual 2x2 pixel shuffle four tiles share a token and colour does not bind to kind; with one token a tile the
language tower only has to find the token that fits the words, and read its place.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

from agent.pilot.words import ALL

SIDE = 56
PATCH = 8
IMAGE_TOKENS = (SIDE // PATCH) ** 2
SPECIAL = ("<pad>", "<end>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '\n' if message['role'] == 'user' else '<end>' }}{% endfor %}"
)
"""One token, the line's end, says that the answer begins."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text can be encoded; the recipe's words, with or without a space, are one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([f"{word} {word}" for word in ALL], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<end>", additional_special_tokens=list(SPECIAL[2:])
    )


def build_processor() -> Idefics3Processor:
    """56x56 pictures as they are, never split."""
    edge = {"longest_edge": SIDE}
    pictures = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    return Idefics3Processor(pictures, build_tokenizer(), image_seq_len=IMAGE_TOKENS, chat_template=TEMPLATE)


def build_model(processor: Idefics3Processor, seed: int) -> Idefics3ForConditionalGeneration:
    """Random weights in the pilot's shape."""
    tokenizer = processor.tokenizer
    config = Idefics3Config(
        vision_config={
            "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": SIDE, "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama", "hidden_size": 128, "intermediate_size": 288, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048, "tie_word_embeddings": True, "initializer_range": 0.05,
            "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None,
        },
        scale_factor=1, image_token_id=tokenizer.convert_tokens_to_ids("<image>"), tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Idefics3ForConditionalGeneration(config).float()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def save(model: Idefics3ForConditionalGeneration, processor: Idefics3Processor, folder: Path) -> None:
    """Write model and processor in Hugging Face format."""
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
