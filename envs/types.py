"""The nouns everybody speaks. Read this first.

Frozen, slotted dataclasses without behaviour: they are data that can be stored, sent and compared.
A world shows an `Observation`; the policy gives a `Reply`; the world turns it into an `Action` and answers with a
reward, which makes a `Step`; steps make an `Episode`; a `Ticket` asks for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np

Mode = Literal["closed", "open"]
"""`closed`: probabilities renormalised over a token trie of allowed texts. `open`: the whole vocabulary."""

Choices = tuple[str, ...] | None
"""The texts allowed at a step, or None where any text may be said."""

IMAGE_MARK = "<image>"


class StopReason(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"  # the world said so: goal reached or failed
    TRUNCATED = "truncated"  # a limit outside the task: its value is bootstrapped, never taken as 0
    ENV_ERROR = "env_error"  # the world raised: nothing is learned from it, and nothing of it is lost


@dataclass(frozen=True, slots=True)
class Observation:
    """What the agent sees: `text` with one `<image>` mark per image; `images` are uint8 `[H, W, 3]`."""

    text: str
    images: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the policy said, before any world has read it.

    Attributes:
        text: the decoded answer.
        tokens: sampled ids, int64 `[T]`; never decoded and encoded again.
        logprobs: float32 `[T]`, nats, under the distribution that sampled them (`mode`); a forced token has 0.
    """

    text: str
    tokens: np.ndarray
    logprobs: np.ndarray
    mode: Mode


@dataclass(frozen=True, slots=True)
class Action:
    """A `Reply` and what the world made of it.

    Attributes:
        command: what `env.step` received; the world's no-op if the text was not readable.
        readable: whether the text named a command.
    """

    text: str
    tokens: np.ndarray
    logprobs: np.ndarray
    mode: Mode
    command: Any
    readable: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One decision. `terminated` and `truncated` are never merged; `cost` is the safety signal, apart from reward.

    `choices` are the texts allowed at this step (`closed` mode), or None where any text may be said.
    """

    observation: Observation
    choices: Choices
    action: Action
    reward: float
    cost: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ticket:
    """An episode to be played. `group` joins tickets that start from the same state (same task, same seed)."""

    id: str
    task: str
    seed: int
    group: str
    member: int
    cycle: int


@dataclass(frozen=True, slots=True)
class Episode:
    """One played ticket.

    Attributes:
        id: derived from (stream, cycle, task, round, group, member), so that writing one twice writes it once.
        task: the regime's name (a task in one state of drift).
        policy_version: hash of the adapter that acted; makes staleness data.
        final: the observation after the last step.
        success: the stream's success rule applied to this episode.
    """

    id: str
    task: str
    seed: int
    group: str
    member: int
    cycle: int
    policy_version: str
    steps: tuple[Step, ...]
    final: Observation
    stop: StopReason
    success: bool
