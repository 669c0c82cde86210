"""How an observation, an action and a step become SQL values and come back bit for bit.

Numbers are packed as little-endian bytes, because SQLite turns NaN into NULL and -0.0 into 0. Info and commands are
JSON: int, float, str, bool, None, lists and dicts of them keep their type; NumPy scalars become Python's, tuples and
arrays of a command become lists. What JSON cannot hold is dropped from info, and its name kept under `_dropped`.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.types import Action, Choices, Mode, Observation, Step

ACTION_COLUMNS = "said, tokens, logprobs, mode, command, readable"
STEP_COLUMNS = f"text, pictures, choices, {ACTION_COLUMNS}, numbers, ended, info"

_NUMBERS = struct.Struct("<dd")  # reward, cost
_TERMINATED, _TRUNCATED = 1, 2
DROPPED = "_dropped"


def pack_floats(values: np.ndarray) -> bytes:
    """Float32 array of any shape as bytes."""
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def unpack_floats(data: bytes) -> np.ndarray:
    """Float32 `[n]`, writable."""
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def pack_action(action: Action) -> tuple[Any, ...]:
    """Values of ACTION_COLUMNS.

    Raises:
        TypeError: tokens are not int64, log-probs not float32, or JSON cannot hold the command.
    """
    if action.tokens.dtype != np.int64 or action.logprobs.dtype != np.float32:
        raise TypeError(
            f"action: tokens must be int64 and logprobs float32, not {action.tokens.dtype} and {action.logprobs.dtype}"
        )
    tokens = np.ascontiguousarray(action.tokens, dtype="<i8").tobytes()
    command = _pack_command(action.command)
    return action.text, tokens, pack_floats(action.logprobs), action.mode, command, int(action.readable)


def unpack_action(said: str, tokens: bytes, logprobs: bytes, mode: Mode, command: str, readable: int) -> Action:
    """The inverse of `pack_action`."""
    ids = np.frombuffer(tokens, dtype="<i8").astype(np.int64)
    return Action(said, ids, unpack_floats(logprobs), mode, json.loads(command), bool(readable))


def pack_choices(choices: Choices) -> str | None:
    """The allowed texts as JSON; None stays None."""
    return None if choices is None else json.dumps(choices)


def unpack_choices(data: str | None) -> Choices:
    """The inverse of `pack_choices`."""
    return None if data is None else tuple(json.loads(data))


def pack_step(step: Step, pictures: bytes, choices: str | None) -> tuple[Any, ...]:
    """Values of STEP_COLUMNS; `pictures` is what `Pictures.put` gave for the observation's images."""
    return (
        step.observation.text,
        pictures,
        choices,
        *pack_action(step.action),
        _NUMBERS.pack(step.reward, step.cost),
        _TERMINATED * bool(step.terminated) + _TRUNCATED * bool(step.truncated),
        pack_info(step.info),
    )


def unpack_step(row: tuple[Any, ...], images: tuple[np.ndarray, ...]) -> Step:
    """The inverse of `pack_step`; `images` are the pictures that `row[1]` names."""
    reward, cost = _NUMBERS.unpack(row[9])
    return Step(
        observation=Observation(row[0], images),
        choices=unpack_choices(row[2]),
        action=unpack_action(*row[3:9]),
        reward=reward,
        cost=cost,
        terminated=bool(row[10] & _TERMINATED),
        truncated=bool(row[10] & _TRUNCATED),
        info=json.loads(row[11]),
    )


def pack_info(info: Mapping[str, Any]) -> str:
    """JSON of what JSON can hold."""
    if not info:
        return "{}"
    try:
        return json.dumps(dict(info), default=_plain)
    except (TypeError, ValueError):
        kept = {key: value for key, value in info.items() if isinstance(key, str) and _is_plain(value)}
        dropped = sorted(str(key) for key in info if key not in kept)
        return json.dumps({**kept, DROPPED: dropped}, default=_plain)


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, default=_plain)
    except (TypeError, ValueError):  # ValueError: a list that holds itself
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _pack_command(command: Any) -> str:
    try:
        return json.dumps(command.tolist() if isinstance(command, np.ndarray) else command, default=_plain)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"action.command is {type(command).__name__} {command!r}, which JSON cannot hold. "
            "Let the world's actions read as int, float, str or lists of them."
        ) from error
