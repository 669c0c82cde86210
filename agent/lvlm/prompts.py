"""Observation -> prompt token ids, by the checkpoint's own processor and chat template; a repeated one is paid once."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from agent.lvlm.checkpoint import Checkpoint
from agent.lvlm.families import prompt_inputs
from agent.lvlm.rows import Prompt
from envs.component import UserError
from envs.types import IMAGE_MARK, Observation

MOST_KEPT = 1 << 15
"""Prompts; what is shown beside changing examples is seldom seen twice."""
ENCODING_ERRORS = (ValueError, TypeError, KeyError, IndexError, RuntimeError, OSError)


class Prompter:
    """Token ids of prompts and answers. Ids of image places come expanded, ready for the features.

    Attributes:
        prompts: those that were asked for, and `longest_seen` of them, in tokens.
    """

    def __init__(self, checkpoint: Checkpoint, longest: int) -> None:
        self.model = checkpoint.model
        self.processor = checkpoint.processor
        self.tokenizer = checkpoint.tokenizer
        self.sees = checkpoint.sees
        self.template = getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)
        self.longest = longest
        self.longest_seen = 0
        end = self.tokenizer.eos_token_id
        if end is None:
            raise UserError("the checkpoint's tokenizer has no eos_token: an answer could never end. Set one.")
        self.end = int(end)
        pad = self.tokenizer.pad_token_id
        self.pad = int(pad) if pad is not None else self.end
        control = sorted(control_tokens(self.processor, self.tokenizer), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, control)) or "(?!)")
        self.prompts: dict[tuple[Any, ...], Prompt] = {}
        self._answers: dict[str, np.ndarray] = {}

    def prompt(self, observation: Observation) -> Prompt:
        """An observation's prompt.

        Raises:
            UserError: marks and images differ in number, the text forges control tokens, the processor refuses a
                picture, or the prompt is longer than the model reads.
        """
        key = (observation.text, tuple(image.shape for image in observation.images))
        found = self.prompts.get(key)
        if found is None:
            if len(self.prompts) >= MOST_KEPT:
                self.prompts.clear()
            found = self.prompts[key] = self._encode(observation)
            self.longest_seen = max(self.longest_seen, len(found))
        return found

    def forget(self) -> None:
        """Drop every prompt, as if none had been seen."""
        self.prompts, self.longest_seen = {}, 0

    def answer(self, text: str) -> np.ndarray:
        """Ids of an answer with the end token, int64 `[T]`."""
        ids = self._answers.get(text)
        if ids is None:
            self._refuse_control(text, "the answer")
            row = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            ids = self._answers[text] = np.array([*row, self.end], dtype=np.int64)
        return ids

    def harmless(self, text: str) -> bool:
        """Whether a text holds no control token."""
        return self._control.search(text) is None

    def decode(self, tokens: np.ndarray) -> str:
        """The text of sampled ids, without control tokens."""
        return str(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True))

    def render(self, parts: Sequence[str]) -> str:
        """The text given to the processor: `parts` with a picture between each two, in the chat template if any."""
        if not self.template:
            return image_mark(self.processor).join(parts) if self.sees else parts[0]
        content: list[dict[str, str]] = []
        for i, part in enumerate(parts):
            if i:
                content.append({"type": "image"})
            if part:
                content.append({"type": "text", "text": part})
        message = [{"role": "user", "content": content if self.sees else parts[0]}]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    message, chat_template=self.template, add_generation_prompt=True, tokenize=False
                )
            )
        except Exception as error:  # a template is the checkpoint's own program: it may raise anything
            raise UserError(f"the checkpoint's chat template fails: {error}. Mend chat_template.jinja.") from error

    def _encode(self, observation: Observation) -> Prompt:
        parts = observation.text.split(IMAGE_MARK)
        if len(parts) - 1 != len(observation.images):
            raise UserError(
                f"the observation has {len(observation.images)} images and {len(parts) - 1} {IMAGE_MARK} marks: "
                "the world must give one mark for each image."
            )
        if observation.images and not self.sees:
            raise UserError("the world shows pictures, and this is a text-only model: give a vision-language one.")
        for part in parts:
            self._refuse_control(part, "the world's text")
        blank = [np.zeros_like(image) for image in observation.images]
        try:
            encoded = encode(self.processor, self.tokenizer, [self.render(parts)], [blank] if self.sees else None)
        except ENCODING_ERRORS as error:
            shapes = ", ".join("x".join(map(str, image.shape)) for image in blank) or "no pictures"
            raise UserError(
                f"the model's processor refuses a prompt with {shapes}: {error}. It begins: {observation.text[:80]!r}"
            ) from error
        ids = encoded["input_ids"][0].numpy()
        if len(ids) > self.longest:
            raise UserError(
                f"a prompt of {len(ids)} tokens is longer than the model's {self.longest}: prompts are never cut. "
                f"Use smaller or fewer pictures, or a shorter history. It begins: {observation.text[:80]!r}"
            )
        return Prompt(ids, *prompt_inputs(self.model, encoded))

    def _refuse_control(self, text: str, what: str) -> None:
        found = self._control.search(text)
        if found:
            raise UserError(
                f"{what} {text[:80]!r} holds the model's control token {found.group()!r}, which would be taken for "
                "more than words: give it another wording."
            )


def encode(processor: Any, tokenizer: Any, texts: list[str], images: list[list[np.ndarray]] | None) -> Any:
    """What the processor (the tokenizer, if `images` is None) makes of texts of equal length, as tensors.

    A chat template that writes the first token itself gets no second one.
    """
    first = tokenizer.bos_token
    more = {"add_special_tokens": False} if first and texts[0].startswith(first) else {}
    if images is None:
        return processor(texts, return_tensors="pt", **more)
    drawn = [[Image.fromarray(image) for image in some] for some in images]  # Idefics2 takes no arrays
    return processor(text=texts, images=drawn if any(drawn) else None, return_tensors="pt", **more)


def image_mark(processor: Any) -> str:
    """What stands for a picture in the text given to the processor."""
    return str(getattr(processor, "boi_token", None) or processor.image_token)


def control_tokens(processor: Any, tokenizer: Any) -> set[str]:
    """Texts that the tokenizer takes for more than words."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    images = {getattr(processor, name, None) for name in ("image_token", "boi_token", "video_token")}
    return {token for token in special | set(tokenizer.all_special_tokens) | images if token}
