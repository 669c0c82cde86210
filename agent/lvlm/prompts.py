"""Observation -> prompt token ids, by the checkpoint's own processor and chat template; a repeated one is paid once."""

from typing import Any

import numpy as np

from envs.component import UserError
from envs.types import IMAGE_MARK, Observation


class Prompter:
    """Token ids of prompts and answers. Ids of image places come expanded, ready for the features."""

    def __init__(self, processor: Any, longest: int, image_token: int) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.longest = longest
        self.longest_seen = 0
        self.image_token = image_token
        end = self.tokenizer.eos_token_id
        if end is None:
            raise UserError("the checkpoint's tokenizer has no eos_token: an answer could never end. Set one.")
        self.end = int(end)
        pad = self.tokenizer.pad_token_id
        self.pad = int(pad) if pad is not None else self.end
        self._prompts: dict[tuple[Any, ...], np.ndarray] = {}
        self._answers: dict[str, np.ndarray] = {}

    def prompt(self, observation: Observation) -> np.ndarray:
        """Ids of an observation's prompt, int64 `[L]`.

        Raises:
            UserError: marks and images differ in number, or the prompt is longer than the model reads.
        """
        key = (observation.text, tuple(image.shape for image in observation.images))
        ids = self._prompts.get(key)
        if ids is None:
            ids = self._prompts[key] = self._encode(observation)
            self.longest_seen = max(self.longest_seen, len(ids))
        return ids

    def answer(self, text: str) -> np.ndarray:
        """Ids of an answer with the end token, int64 `[T]`."""
        ids = self._answers.get(text)
        if ids is None:
            row = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if self.image_token in row:
                raise UserError(f"the answer {text!r} holds the model's image token: give it another wording.")
            ids = self._answers[text] = np.array([*row, self.end], dtype=np.int64)
        return ids

    def decode(self, tokens: np.ndarray) -> str:
        """The text of sampled ids, without control tokens."""
        return str(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True))

    def _encode(self, observation: Observation) -> np.ndarray:
        parts = observation.text.split(IMAGE_MARK)
        if len(parts) - 1 != len(observation.images):
            raise UserError(
                f"the observation has {len(observation.images)} images and {len(parts) - 1} {IMAGE_MARK} marks: "
                "the world must give one mark for each image."
            )
        content: list[dict[str, str]] = []
        for i, part in enumerate(parts):
            if i:
                content.append({"type": "image"})
            if part:
                content.append({"type": "text", "text": part})
        message = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        images = [[np.zeros_like(image) for image in observation.images]] if observation.images else None
        ids = np.array(self.processor(text=[text], images=images)["input_ids"][0], dtype=np.int64)
        if len(ids) > self.longest:
            raise UserError(
                f"a prompt of {len(ids)} tokens is longer than the model's {self.longest}: prompts are never cut. "
                f"Use smaller or fewer pictures, or a shorter history. It begins: {observation.text[:80]!r}"
            )
        return ids
