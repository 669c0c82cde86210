"""What a native world is: the contract between a Gymnasium env and our wrappers, read here and nowhere else.

A native world is a Gymnasium env with

- observations `Dict(text=Text, image=Box uint8 [H, W, 3], ...)`: the text always, any number of pictures, each under
  a key that begins with `image`;
- actions `Discrete` with `action_texts: tuple[str, ...]`, one text per action; only actions that have a text are
  offered. Or an action space `Text`: then anything in it may be said;
- if it likes: `noop`, the action that does nothing (it need not have a text); `info["cost"]`, apart from reward;
- if it knows: a method `expert() -> action`, the right action now: an index, or a text where anything may be said.

What a world may tell in `info` of a step, for those who reward, judge or teach (all of it is kept with the step):

- `potential`, a float, from `reset` on: how good the state is that is reached. `World` adds `potential_before`, that of
  the state that was answered, so that one step is enough for shaping (Ng et al. 1999);
- `present`, `absent`: names of what is to be seen in the observation that was answered, and of what could be but isn't;
- `liking`: name of a preference -> float, how much who has it likes what was said.

What it draws comes from `self.np_random`, after `super().reset(seed=seed)`, so that a seed repeats an episode.
`notices` belongs to drift: sentences that wrappers add to what the agent is told.
"""

import math
from collections.abc import Mapping
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


def has_expert(env: Env) -> bool:
    """Whether the world knows the right action."""
    return env.has_wrapper_attr("expert")


def expert_of(env: Env) -> Any:
    """The right action now, as the env itself numbers or says it. Asked before `step`; it changes nothing."""
    return env.get_wrapper_attr("expert")()


def potential_of(info: Mapping[str, Any]) -> float | None:
    """How good the state is that an info speaks of; None if the world doesn't say.

    Raises:
        ValueError: it is not finite.
    """
    if info.get("potential") is None:
        return None
    potential = float(info["potential"])
    if not math.isfinite(potential):
        raise ValueError(f"the world gave potential {potential}: it must be a finite number")
    return potential


def image_keys(env: Env) -> tuple[str, ...]:
    """Keys of the pictures in an observation, in their order in the prompt."""
    space = env.observation_space
    assert isinstance(space, spaces.Dict)
    return tuple(sorted(key for key in space.spaces if key.startswith(IMAGE_KEY)))
