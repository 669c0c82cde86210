"""What a world tells beside its reward, by info key, and the error where it doesn't.

All of it speaks of the answer of that step and is never shown to the agent. A world that was not stepped (an answer
that could not be read, in a world without a no-op) tells nothing there.
"""

import math
from typing import Any

from envs.actions import fold, reader
from envs.component import UserError
from envs.types import Step

KEYS = {
    "potential": "a number: how good the state after the step is",
    "potential_before": "a number: how good the state before the step was",
    "present": "a list of texts: names of things that are there",
    "absent": "a list of texts: names of things that are not there",
    "expert": "a text: the best answer in the state before the step",
    "liking": "a mapping from a preference's name to how much it likes the answer, a number",
}


def was_stepped(step: Step) -> bool:
    """Whether the answer reached the world, so that it had something to tell."""
    return step.action.command is not None


def told(step: Step, key: str, asked: str, off: str) -> Any:
    """`info[key]` of a step whose answer reached the world.

    Args:
        asked: the setting that wants it with its value, for the message.
        off: what to set instead, for the message.

    Raises:
        UserError: it is not there.
    """
    if key not in step.info:
        raise UserError(
            f"{asked}, but the world has no info[{key!r}] at a step. Let its step() put it there ({KEYS[key]}), "
            f"or {off}."
        )
    return step.info[key]


def told_number(step: Step, key: str, asked: str, off: str) -> float:
    """The same, where it must be a finite number."""
    return finite(told(step, key, asked, off), f"info[{key!r}]", asked)


def told_text(step: Step, key: str, asked: str, off: str) -> str:
    """The same, where it must be a text that is not blank."""
    value = told(step, key, asked, off)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{asked}, but info[{key!r}] is {value!r}: it must be {KEYS[key]}, not blank.")
    return value


def told_names(step: Step, key: str, asked: str, off: str) -> tuple[str, ...]:
    """The same, where it must be a list of texts that are not blank."""
    value = told(step, key, asked, off)
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name.strip() for name in value):
        raise UserError(f"{asked}, but info[{key!r}] is {value!r}: it must be {KEYS[key]}, none of them blank.")
    return tuple(value)


def finite(value: Any, what: str, asked: str) -> float:
    """`value` as a float.

    Raises:
        UserError: it is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{asked}, but the world's {what} is {value!r}: it must be a finite number.")
    return float(value)


def is_thought(step: Step) -> bool:
    """Whether the action stood behind a thought: any text was allowed, and yet no text reached the world."""
    return step.choices is None and was_stepped(step) and not isinstance(step.action.command, str)


def same_answer(step: Step, expert: str) -> bool:
    """Whether the step's answer says what `expert` says: the same allowed text, or the same words.

    Of an answer with a thought, the last words count.
    """
    text = step.action.text
    if step.choices is not None:
        said = reader(step.choices).read(text)
        return said is not None and said == reader(step.choices).read(expert)
    if is_thought(step):
        return step.action.readable and f" {fold(text)}".endswith(f" {fold(expert)}")
    return reader((expert,)).read(text) is not None
