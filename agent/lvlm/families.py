"""What differs between checkpoint families: one small function or one line of data for each difference.

The common interface is that of transformers: the model's body takes ids and `mm_encoder_outputs` (what the vision tower
said of the pictures), `get_image_features` makes them, `get_decoder` finds the language tower. A family that keeps to
it needs nothing here; one that doesn't fails at load with what was missing.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from envs.component import UserError

NOT_PROMPT = ("input_ids", "attention_mask", "labels")
ANSWER_TYPES = {"paligemma": 1}
"""Token type of an answer behind the prompt: 0 is text, but in PaliGemma 0 is the prefix that sees both ways."""
IMAGE_TOKEN_NAMES = ("image_token_id", "image_token_index")
SCALE_OF_FAR = "llama_4_scaling_beta"
"""Among a config's rope parameters: queries grow with their position, beyond so many."""
LOGIT_TOLERANCE = 1e-4


def takes(function: Callable[..., Any]) -> frozenset[str]:
    """Names of what a function takes."""
    return frozenset(inspect.signature(function).parameters)


def find_tower(model: Any) -> str:
    """Dotted name of the language tower inside `model`.

    Raises:
        UserError: there is none, or it has no `layers`.
    """
    decoder = model.get_decoder()
    name = next((name for name, module in model.named_modules() if module is decoder), None)
    if not name or not hasattr(decoder, "layers"):
        raise UserError(
            f"a {type(model).__name__} has no language tower with layers (get_decoder() gave a "
            f"{type(decoder).__name__}): this family is not supported."
        )
    return name


def vision_tower(model: Any, tower: str) -> list[str]:
    """Names of the vision tower's linear layers; what leads from it to the language tower is not among them."""
    return [name for name, is_vision in _outside(model, tower) if is_vision]


def between_towers(model: Any, tower: str) -> list[str]:
    """Names of the projector's linear layers."""
    return [name for name, is_vision in _outside(model, tower) if not is_vision]


def _outside(model: Any, tower: str) -> list[tuple[str, bool]]:
    """Linear layers outside the language tower `tower` and the head, and whether each is the vision tower's."""
    eyes = {id(module) for module in model.get_encoder("image").modules()}
    out = []
    for name, module in model.named_modules():
        skipped = name.startswith(f"{tower}.") or module is model.get_output_embeddings()
        if type(module) is torch.nn.Linear and not skipped:  # a subclass may be used in other ways than by its forward
            out.append((name, id(module) in eyes and "merger" not in name))  # Qwen-VL's projector is in its tower
    return out


def find_image_token(model: Any, processor: Any) -> int:
    """Id of the token that stands for a piece of a picture.

    Raises:
        UserError: neither config nor processor names one.
    """
    for holder, name in [*((model.config, name) for name in IMAGE_TOKEN_NAMES), (processor, "image_token_id")]:
        token = getattr(holder, name, None)
        if token is not None:
            return int(token)
    raise UserError(f"a {type(model).__name__} has no {IMAGE_TOKEN_NAMES[0]} in config or processor: set it there.")


def check_pictures(model: Any) -> None:
    """Make sure that a vision-language model can be handed pictures that were looked at before.

    Raises:
        UserError: naming what the family lacks.
    """
    body = model.base_model
    if looks_across(model):
        return
    missing = [] if hasattr(body, "get_image_features") else ["get_image_features"]
    missing += [] if "mm_encoder_outputs" in takes(body.forward) else ["mm_encoder_outputs in forward"]
    if missing:
        raise UserError(f"a {type(model).__name__} lacks {' and '.join(missing)}: this family is not supported.")


def looks_across(model: Any) -> bool:
    """Whether pictures are looked at by cross attention (Mllama), and not put among the words."""
    return "cross_attention_states" in takes(model.base_model.forward)


def is_plain(model: Any) -> bool:
    """Whether words and pictures in order are all that the body wants, each seeing all before it and nothing else.

    Nor does it do what a short trial may not reach: scale far positions (Ministral 3) or cut off large values (OLMo).
    """
    wanted, config = takes(model.base_model.forward), model.config.get_text_config()
    if getattr(config, "clip_qkv", None) is not None or SCALE_OF_FAR in (
        getattr(config, "rope_parameters", None) or {}
    ):
        return False
    return masks_hold(model) and not any(mark in name for name in wanted for mark in ("grid", "cross_attention"))


def masks_hold(model: Any) -> bool:
    """Whether a mask of who sees whom may stand in for the family's own: it has no window and looks ahead nowhere."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window is not None and window < getattr(config, "max_position_embeddings", 0):
        return False
    return "token_type_ids" not in takes(model.base_model.forward)


def turns_by_grid(model: Any) -> bool:
    """Whether positions follow a picture's grid (Qwen-VL's rope), so that only the body knows them."""
    return hasattr(model.base_model, "get_rope_index")


def prompt_inputs(model: Any, encoded: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the body needs beside ids and pictures: `[L, ...]` per token, and `[images, ...]` per picture."""
    wanted = {name: encoded[name] for name in takes(model.base_model.forward) & set(encoded) if name not in NOT_PROMPT}
    length = encoded["input_ids"].shape[1]
    tokens = {name: value[0] for name, value in wanted.items() if value.shape[:2] == (1, length)}
    return tokens, {name: value for name, value in wanted.items() if "grid" in name and name not in tokens}


def behind(model_type: str, name: str, prompt: Tensor, count: int) -> Tensor:
    """A per-token input `[L, ...]` carried on over `count` tokens of an answer: `[L + count, ...]`."""
    if "type" in name:
        more = torch.full((count, *prompt.shape[1:]), ANSWER_TYPES.get(model_type, 0), dtype=prompt.dtype)
    else:  # a cross-attention mask: an answer sees the pictures that the last word sees
        more = prompt[-1:].expand(count, *prompt.shape[1:])
    return torch.cat((prompt, more))


def without_video(processor: type) -> type:
    """The same processor class for words and pictures: video parts need torchvision, and no world shows videos."""
    if "video_processor" not in processor.get_attributes():  # type: ignore[attr-defined]
        return processor

    def get_attributes(cls: type) -> list[str]:
        return [name for name in processor.get_attributes() if name != "video_processor"]  # type: ignore[attr-defined]

    def from_args_and_dict(cls: type, args: Any, about: dict[str, Any], **named: Any) -> Any:
        with_none = {**about, "video_processor": None}  # SmolVLM's has no default
        return processor.from_args_and_dict.__func__(cls, args, with_none, **named)  # type: ignore[attr-defined]

    methods = {"get_attributes": classmethod(get_attributes), "from_args_and_dict": classmethod(from_args_and_dict)}
    return type(processor.__name__, (processor,), methods)


def find_finish(model: Any, ids: Tensor) -> Callable[[Tensor], Tensor]:
    """What the family does to the head's output: found by comparing with its own forward on `ids` `[1, L]`.

    Raises:
        UserError: nothing known gives the same logits.
    """
    config = model.config.get_text_config()
    cap, scale, divisor = (
        getattr(config, name, None) or None for name in ("final_logit_softcapping", "logit_scale", "logits_scaling")
    )
    known: list[Callable[[Tensor], Tensor]] = [lambda logits: logits]
    if cap is not None:
        known.append(lambda logits: torch.tanh(logits / cap) * cap)
    if scale is not None:
        known.append(lambda logits: logits * scale)
    if divisor is not None:
        known.append(lambda logits: logits / divisor)
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        raw = model.get_output_embeddings()(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    for finish in known:
        if torch.allclose(finish(raw), expected, atol=LOGIT_TOLERANCE, rtol=LOGIT_TOLERANCE):
            return finish
    raise UserError(f"a {type(model).__name__} changes its logits in a way that is not known: it is not supported.")
