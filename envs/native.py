"""What a native world is: the contract between a Gymnasium env and our wrappers, read here and nowhere else.

A native world is a Gymnasium env with

- observations `Dict(text=Text, image=Box uint8 [H, W, 3], ...)`: the text always, any number of pictures, each under
  a key that begins with `image`;
- actions `Discrete` with `action_texts: tuple[str, ...]`, one text per action; only actions that have a text are
  offered. Or an action space `Text`: then anything in it may be said;
- if it likes: `noop`, the action that does nothing (it need not have a text); `info["cost"]`, apart from reward.

What it draws comes from `self.np_random`, after `super().reset(seed=seed)`, so that a seed repeats an episode.
`notices` belongs to drift: sentences that wrappers add to what the agent is told.
"""

from typing import Any

import gymnasium
from gymnasium import spaces

IMAGE_KEY = "image"

Env = gymnasium.Env[Any, Any]


def is_native(env: Env) -> bool:
    """Whether `env` speaks the contract above."""
    space = env.observation_space
    if not (isinstance(space, spaces.Dict) and isinstance(space.spaces.get("text"), spaces.Text)):
        return False
    return isinstance(env.action_space, spaces.Text) or env.has_wrapper_attr("action_texts")


def texts_of(env: Env) -> tuple[str, ...] | None:
    """The texts of the actions now, in the order of the actions; None where anything may be said."""
    if isinstance(env.action_space, spaces.Text):
        return None
    return tuple(env.get_wrapper_attr("action_texts"))


def notices_of(env: Env) -> tuple[str, ...]:
    """What wrappers say about themselves, innermost first."""
    return tuple(env.get_wrapper_attr("notices")) if env.has_wrapper_attr("notices") else ()


def noop_of(env: Env) -> Any:
    """The action that does nothing, or None if the world has none."""
    return env.get_wrapper_attr("noop") if env.has_wrapper_attr("noop") else None


def image_keys(env: Env) -> tuple[str, ...]:
    """Keys of the pictures in an observation, in their order in the prompt."""
    space = env.observation_space
    assert isinstance(space, spaces.Dict)
    return tuple(sorted(key for key in space.spaces if key.startswith(IMAGE_KEY)))
