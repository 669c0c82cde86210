"""Tiny random checkpoints of every vision-language family: real model, processor and tokenizer classes, no skill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as t

from tests.tiny import TEMPLATE, tokenizer

TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.1,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 28,
}  # fmt: skip
SQUARE = {"height": 56, "width": 56}
PINPOINTS = [[56, 112], [112, 56], [112, 112]]
Built = tuple[Any, Any]


def text(words: Any, kind: str = "llama", **more: Any) -> dict[str, Any]:
    """Settings of a language tower."""
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    return {"model_type": kind, "bos_token_id": words.eos_token_id, **TEXT, **ids, **more}


def llava() -> Built:
    words = tokenizer("<image>")
    pictures = t.CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=SQUARE)
    processor = t.LlavaProcessor(
        pictures, words, patch_size=28, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    vision = {"model_type": "clip_vision_model", **VISION}
    image = words.convert_tokens_to_ids("<image>")
    config = t.LlavaConfig(vision_config=vision, text_config=text(words), image_token_index=image)
    return t.LlavaForConditionalGeneration(config), processor


def llava_next() -> Built:
    words = tokenizer("<image>")
    size = {"shortest_edge": 56}
    pictures = t.LlavaNextImageProcessorPil(size=size, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS)
    processor = t.LlavaNextProcessor(
        pictures, words, patch_size=28, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    config = t.LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", **VISION}, text_config=text(words),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_grid_pinpoints=PINPOINTS,
    )  # fmt: skip
    return t.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> Built:
    words = tokenizer("<image>", "<video>")
    pictures = t.LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=PINPOINTS)
    processor = still(t.LlavaOnevisionProcessor)(
        pictures, words, num_image_tokens=4, vision_feature_select_strategy="full", chat_template=TEMPLATE
    )
    config = t.LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION}, text_config=text(words, "qwen2"),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_grid_pinpoints=PINPOINTS,
        video_token_index=words.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    return t.LlavaOnevisionForConditionalGeneration(config), processor


def idefics2() -> Built:
    words = tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    pictures = t.Idefics2ImageProcessorPil(size={"shortest_edge": 28, "longest_edge": 56}, do_image_splitting=False)
    processor = t.Idefics2Processor(pictures, words, image_seq_len=3, chat_template=TEMPLATE)
    perceiver = {
        "hidden_size": 32, "resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
        "resampler_head_dim": 16, "num_key_value_heads": 2,
    }  # fmt: skip
    config = t.Idefics2Config(
        vision_config={**VISION, "num_hidden_layers": 1}, perceiver_config=perceiver,
        text_config=text(words, "mistral", sliding_window=None),
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return t.Idefics2ForConditionalGeneration(config), processor


def smolvlm() -> Built:
    words = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    pictures = t.SmolVLMImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 56}, do_image_splitting=False
    )
    processor = still(t.SmolVLMProcessor)(pictures, words, None, image_seq_len=4, chat_template=TEMPLATE)
    config = t.SmolVLMConfig(
        vision_config=VISION, text_config=text(words), scale_factor=1,
        image_token_id=words.convert_tokens_to_ids("<image>"), pad_token_id=words.pad_token_id,
    )  # fmt: skip
    return t.SmolVLMForConditionalGeneration(config), processor


def paligemma() -> Built:
    words = tokenizer("<image>", "<bos>", bos_token="<bos>")
    pictures = t.SiglipImageProcessorPil(size=SQUARE)
    pictures.image_seq_length = 4
    processor = t.PaliGemmaProcessor(pictures, words)
    config = t.PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION, "projection_dim": 32},
        text_config=text(words, "gemma", head_dim=16), projection_dim=32, hidden_size=32,
        image_token_index=words.convert_tokens_to_ids("<image>"), vocab_size=len(words),
    )  # fmt: skip
    return t.PaliGemmaForConditionalGeneration(config), processor


def gemma3() -> Built:
    named = {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image_soft_token>"}
    words = tokenizer(*named.values(), extra_special_tokens=named)
    pictures = t.Gemma3ImageProcessorPil(size=SQUARE)
    processor = t.Gemma3Processor(
        pictures, words, chat_template=TEMPLATE.replace("<image>", "<boi>"), image_seq_length=4
    )
    config = t.Gemma3Config(
        text_config=text(words, "gemma3_text", head_dim=16, sliding_window=8, num_hidden_layers=3,
                         layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
        vision_config={"model_type": "siglip_vision_model", **VISION, "vision_use_head": False},
        mm_tokens_per_image=4, image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<boi>"), eoi_token_index=words.convert_tokens_to_ids("<eoi>"),
    )  # fmt: skip
    model = t.Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # zeros would hide pictures
    return model, processor


def qwen(processor_class: type, config_class: type, model_class: type, vision: dict[str, Any], kind: str) -> Built:
    words = tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    pictures = t.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": 64 * 64}, patch_size=14, merge_size=2
    )
    marked = TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = still(processor_class)(pictures, words, chat_template=marked)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    config = config_class(
        text_config=text(words, kind, rope_parameters=rope, head_dim=16),
        vision_config={"depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2, **vision},
        image_token_id=words.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=words.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=words.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=words.convert_tokens_to_ids("<|vision_end|>"),
    )
    return model_class(config), processor


def qwen2_vl() -> Built:
    vision = {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}
    return qwen(t.Qwen2VLProcessor, t.Qwen2VLConfig, t.Qwen2VLForConditionalGeneration, vision, "qwen2_vl_text")


def qwen2_5_vl() -> Built:
    vision = {
        "hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "window_size": 56,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    return qwen(
        t.Qwen2_5_VLProcessor, t.Qwen2_5_VLConfig, t.Qwen2_5_VLForConditionalGeneration, vision, "qwen2_5_vl_text"
    )


def qwen3_vl() -> Built:
    vision = {
        "hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }  # fmt: skip
    return qwen(t.Qwen3VLProcessor, t.Qwen3VLConfig, t.Qwen3VLForConditionalGeneration, vision, "qwen3_vl_text")


def internvl() -> Built:
    named = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }  # fmt: skip
    words = tokenizer(*named.values(), extra_special_tokens=named)
    pictures = t.GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=True, max_patches=3)
    marked = TEMPLATE.replace("<image>", "<IMG_CONTEXT>")
    processor = still(t.InternVLProcessor)(pictures, words, image_seq_length=4, chat_template=marked)
    vision = {**VISION, "image_size": [56, 56], "patch_size": [14, 14]}
    config = t.InternVLConfig(
        vision_config=vision, text_config=text(words, "qwen2"), image_seq_length=4, downsample_ratio=0.5,
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )  # fmt: skip
    return t.InternVLForConditionalGeneration(config), processor


def mllama() -> Built:
    words = tokenizer("<|image|>", "<|python_tag|>", "<bos>", bos_token="<bos>")
    pictures = t.MllamaImageProcessorPil(size=SQUARE, max_image_tiles=2)
    processor = t.MllamaProcessor(pictures, words, chat_template=TEMPLATE.replace("<image>", "<|image|>"))
    vision = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 2,
        "intermediate_size": 32, "vision_output_dim": 32, "image_size": 56, "patch_size": 14, "max_num_tiles": 2,
        "intermediate_layers_indices": [1], "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    }  # fmt: skip
    config = t.MllamaConfig(
        vision_config=vision,
        text_config=text(words, "mllama_text_model", num_hidden_layers=3, cross_attention_layers=[1],
                         rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
        image_token_index=words.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    model = t.MllamaForConditionalGeneration(config)
    for name, weight in model.named_parameters():  # gates start shut, and the pictures would not be seen
        if name.endswith(("_gate", "gate")):
            torch.nn.init.constant_(weight, 0.5)
    return model, processor


def aya_vision() -> Built:
    words = tokenizer(
        "<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL"
    )
    pictures = t.GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=True, max_patches=3)
    processor = t.AyaVisionProcessor(pictures, words, patch_size=14, img_size=56, downsample_factor=2,
                                     chat_template=TEMPLATE)  # fmt: skip
    config = t.AyaVisionConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION, "patch_size": 14},
        text_config=text(words, "cohere2", head_dim=16, sliding_window=8, logit_scale=0.25),
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"), downsample_factor=2,
    )  # fmt: skip
    return t.AyaVisionForConditionalGeneration(config), processor


class Patches(t.Siglip2ImageProcessorPil):
    """The layout of LFM2-VL's pictures, each one tile. Its own class is written on torchvision."""

    tile_size, encoder_patch_size, downsample_factor, use_thumbnail = 112, 14, 2, False

    def _preprocess(self, images: list[Any], **given: Any) -> Any:
        out = super()._preprocess(images, **given)
        one = [1] * len(images)
        return t.BatchFeature(
            {**out, "image_rows": one, "image_cols": one, "image_sizes": [list(image.shape[-2:]) for image in images]}
        )


def lfm2_vl() -> Built:
    words = tokenizer("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
    pictures = Patches(do_resize=False, patch_size=14, max_num_patches=32)
    kind = type("Lfm2VlProcessor", (t.Lfm2VlProcessor,), {"images_kwargs": {}})
    processor = kind(pictures, words, chat_template=TEMPLATE)
    vision = {**VISION, "patch_size": 14, "num_patches": 16}
    del vision["image_size"]
    config = t.Lfm2VlConfig(
        vision_config={"model_type": "siglip2_vision_model", **vision, "vision_use_head": False},
        text_config=text(words, "lfm2", num_hidden_layers=3, layer_types=["conv", "full_attention", "conv"],
                         block_multiple_of=8),
        image_token_id=words.convert_tokens_to_ids("<image>"), projector_hidden_size=32,
    )  # fmt: skip
    return t.Lfm2VlForConditionalGeneration(config), processor


def words_only(kind: str, **more: Any) -> Callable[[], Built]:
    """A text-only model."""

    def build() -> Built:
        words = tokenizer()
        settings = text(words, kind, **more)
        return t.AutoModelForCausalLM.from_config(t.AutoConfig.for_model(settings.pop("model_type"), **settings)), words

    return build


def still(processor: type) -> Callable[..., Any]:
    """A processor class that takes no videos: those need torchvision."""
    from agent.lvlm.families import without_video

    return without_video(processor)


FAMILIES: dict[str, Callable[[], Built]] = {
    build.__name__: build
    for build in (
        llava, llava_next, llava_onevision, idefics2, smolvlm, paligemma, gemma3, qwen2_vl, qwen2_5_vl, qwen3_vl,
        internvl, mllama, aya_vision, lfm2_vl,
    )
}  # fmt: skip

TEXT_FAMILIES: dict[str, Callable[[], Built]] = {
    "llama": words_only("llama"),
    "gemma2": words_only("gemma2", head_dim=16, sliding_window=8),
    "granite": words_only("granite", logits_scaling=3.0),
    "cohere": words_only("cohere", logit_scale=0.5),
    "qwen3": words_only("qwen3", head_dim=16),
    "ministral3": words_only(
        "ministral3",
        head_dim=16,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 2.0,
            "original_max_position_embeddings": 16,
            "llama_4_scaling_beta": 0.5,
        },
    ),
}


def build_family(name: str, folder: Path) -> Path:
    """Write a tiny checkpoint of a family and return its folder."""
    torch.manual_seed(0)
    model, processor = (FAMILIES | TEXT_FAMILIES)[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
