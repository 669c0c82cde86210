"""Scenes -> tensors. One sequence holds a picture and all its questions; each question sees the picture and itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

from agent.pilot.questions import NOWHERE, UNDECIDED, Scene


@dataclass(frozen=True, slots=True)
class Batch:
    """A padded batch.

    Attributes:
        pixels: float32 `[B, 1, 3, 56, 56]`.
        ids: int64 `[B, L]`; positions: int64 `[B, L]`, each question's begin behind the picture.
        mask: float32 `[B, 1, L, L]`, added to the attention scores.
        rows, columns: where an answer's token is predicted; targets: that token; owner: its question's number.
        points: int64 `[3, N]`: row and column of a thing's name, and the picture token that shows the thing (the
            first token of all where nothing does).
        undecided: bool `[B, L]`, tokens of questions that have no right answer.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    owner: torch.Tensor
    points: torch.Tensor
    undecided: torch.Tensor


class Batcher:
    """Makes batches in the very tokens that the processor makes of a single prompt."""

    def __init__(self, processor: Idefics3Processor) -> None:
        self.tokenizer = processor.tokenizer
        self.processor = processor
        blank = [[np.full((56, 56, 3), 9, dtype=np.uint8)]]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}]}], add_generation_prompt=True, tokenize=False
        )
        ids = processor(text=[prompt], images=blank)["input_ids"][0]
        self.picture = np.array(ids[:-1])  # without the line's end
        self.first_tile = ids.index(self.tokenizer.convert_tokens_to_ids("<image>"))
        self.stops = self.tokenizer.convert_tokens_to_ids(["?", "."])
        self._segments = lru_cache(maxsize=200_000)(self._segment)

    def _segment(self, text: str, answer: str) -> tuple[np.ndarray, int]:
        """Ids of a question with its answer, and where the answer begins."""
        question = self.tokenizer(text + "\n", add_special_tokens=False)["input_ids"]
        said = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return np.array([*question, *said, self.tokenizer.eos_token_id]), len(question)

    def __call__(self, scenes: Sequence[Scene]) -> Batch:
        """Collate."""
        parts = [[self._segments(q.text, q.answer) for q in scene.questions] for scene in scenes]
        head = len(self.picture)
        length = head + max(sum(len(ids) for ids, _ in row) for row in parts)
        ids = np.full((len(scenes), length), self.tokenizer.pad_token_id)
        positions = np.zeros((len(scenes), length), dtype=np.int64)
        block = np.full((len(scenes), length), -1)  # 0: picture, n: question n, -1: padding
        undecided = np.zeros((len(scenes), length), dtype=bool)
        ids[:, :head], positions[:, :head], block[:, :head] = self.picture, np.arange(head), 0
        rows: list[int] = []
        columns: list[int] = []
        targets: list[int] = []
        owner: list[int] = []
        points: list[tuple[int, int, int]] = []
        number = 0
        for b, row in enumerate(parts):
            at = head
            for n, (segment, start) in enumerate(row):
                end = at + len(segment)
                ids[b, at:end], positions[b, at:end], block[b, at:end] = (
                    segment,
                    np.arange(head, head + end - at),
                    n + 1,
                )
                answer = len(segment) - start
                rows += [b] * answer
                columns += range(at + start - 1, end - 1)
                targets += segment[start:].tolist()
                owner += [number] * answer
                question = scenes[b].questions[n]
                undecided[b, at:end] = question.kind in UNDECIDED
                about = question.about
                if about is not None:
                    name = at + int(np.isin(segment, self.stops).argmax()) - 1
                    points.append((b, name, self.first_tile + about if about != NOWHERE else 0))
                number += 1
                at = end
        blocks = torch.from_numpy(block)
        order = torch.arange(length)
        seen = (blocks[:, :, None] == blocks[:, None, :]) | (blocks[:, None, :] == 0)
        seen &= order[:, None] >= order[None, :]
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
        pixels = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2)[:, None].float() / 127.5 - 1
        tensors = [torch.tensor(x) for x in (rows, columns, targets, owner)]
        tensors += [torch.tensor(points, dtype=torch.int64).reshape(-1, 3).T, torch.from_numpy(undecided)]
        return Batch(pixels, torch.from_numpy(ids), torch.from_numpy(positions), mask, *tensors)


def features(model: Idefics3ForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Image tokens as the language tower gets them, `[B, 49, hidden]`."""
    shape = (pixels.shape[0], 7, 7)
    seen = model.model.vision_model(pixels[:, 0], torch.ones(shape, dtype=torch.bool)).last_hidden_state
    return model.model.connector(seen)


POINTING_LAYER = 1
SHELTERED_LAYERS = 2
"""So many layers from below learn nothing from questions that have no right answer."""


class Pointer:
    """Listens in on one attention head: what does the name of a thing look at in the picture?

    Colour binds to kind when that head finds the tile that has both. Left alone, this takes hours to emerge; the recipe
    knows the tile, so it says so. The head keeps its place in the model; nothing is added to it.
    """

    def __init__(self, model: Idefics3ForConditionalGeneration) -> None:
        self.attention = model.model.text_model.layers[POINTING_LAYER].self_attn
        self.inputs: dict[str, Any] = {}
        self.attention.register_forward_pre_hook(self._listen, with_kwargs=True)

    def _listen(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.inputs = kwargs

    def loss(self, batch: Batch, pictured: int) -> torch.Tensor:
        """Cross-entropy in nats of the head's attention over the picture's `pictured` tokens, after a forward."""
        width = self.attention.head_dim
        hidden, (cos, sin) = self.inputs["hidden_states"], self.inputs["position_embeddings"]
        rows, columns, wanted = batch.points
        asked = hidden[rows, columns] @ self.attention.q_proj.weight[:width].T
        shown = hidden[:, :pictured] @ self.attention.k_proj.weight[:width].T
        asked = _turn(asked, cos[rows, columns], sin[rows, columns])
        shown = _turn(shown, cos[:, :pictured], sin[:, :pictured])
        scores = (shown[rows] @ asked[:, :, None])[:, :, 0] * self.attention.scaling
        return torch.nn.functional.cross_entropy(scores, wanted)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding, as in Llama."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def answer_logits(model: Idefics3ForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Logits `[answer tokens, vocabulary]` where answers are predicted.

    Gradients of questions that have no right answer stop above the lower layers. Those would learn to pass nothing on
    of what the answer could depend on, and an adapter in the upper layers could not bring it back when one day the
    answer is known.
    """
    embeds = model.get_input_embeddings()(batch.ids)
    places = (batch.ids == model.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(places, features(model, batch.pixels))
    tower = model.model.text_model

    def shelter(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return torch.where(batch.undecided[..., None], args[0].detach(), args[0]), *args[1:]

    with tower.layers[SHELTERED_LAYERS].register_forward_pre_hook(shelter):
        hidden = tower(inputs_embeds=embeds, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False)
    return model.lm_head(hidden.last_hidden_state[batch.rows, batch.columns])
