"""People's judgements from a file, one a line:

    {"prompt": "<image>go to the red ball.", "better": "turn left", "worse": "turn right", "margin": 1.0}

`images` may name the prompt's pictures in order, each by its content key (`memory.images.content_key`, hexadecimal);
without it, the judgement holds for every picture. All of a prompt and two answers are averaged.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from agent.judging import Answered
from envs.component import Settings, UserError
from memory.images import content_key

Key = tuple[str, tuple[str, ...] | None, str, str]
"""Prompt, pictures (None: any), and the two answers in order of the alphabet."""
ContentKey = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Line(Settings):
    """One judgement."""

    prompt: str
    better: str
    worse: str
    images: tuple[ContentKey, ...] | None = None
    margin: float = Field(1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _differ(self) -> "Line":
        if self.better == self.worse:
            raise ValueError(f"better and worse are both {self.better!r}: nothing is preferred. Remove the line.")
        return self


class Config(Settings):
    """`path` of the file, JSON lines in UTF-8. It is read when the annotator is built."""

    path: Path

    def build(self) -> "Recorded":
        return Recorded(self.path)


class Recorded:
    """The margin is that of the file."""

    name = "recorded"

    def __init__(self, path: Path) -> None:
        margins: dict[Key, list[float]] = {}
        for line in _lines(path):
            first, second, sign = _in_order(line.better, line.worse)
            margins.setdefault((line.prompt, line.images, first, second), []).append(sign * line.margin)
        self._margins = {key: sum(given) / len(given) for key, given in margins.items()}

    def judge(self, a: Answered, b: Answered) -> float | None:
        """See `agent.judging.Annotator`. A judgement of these pictures outranks one of any pictures."""
        first, second, sign = _in_order(a.step.action.text, b.step.action.text)
        seen = a.step.observation
        margin = self._margins.get((seen.text, tuple(content_key(image).hex() for image in seen.images), first, second))
        if margin is None:
            margin = self._margins.get((seen.text, None, first, second))
        return sign * margin if margin else None


def _in_order(one: str, other: str) -> tuple[str, str, int]:
    return (one, other, 1) if one <= other else (other, one, -1)


def _lines(path: Path) -> Iterator[Line]:
    """The judgements of a file; blank lines are skipped.

    Raises:
        UserError: it can't be read, or a line is no judgement; file and line are named.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"annotator.path is {str(path)!r}: {error.strerror}. Name a file of JSON lines.") from error
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield _line(line, f"{path}, line {number}")


def _line(line: bytes, where: str) -> Line:
    try:
        return Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or "the line"
        raise UserError(
            f"{where}: {what}: {first['msg']}. A line is "
            '{"prompt": TEXT, "better": TEXT, "worse": TEXT}, with "images" and "margin" if you like.'
        ) from error
