"""Any Gymnasium env made native by settings alone: an instruction, words for its actions, a picture from it."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.component import UserError
from envs.native import Env
from envs.words import Words


class Foreign(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """A foreign env in native dress.

    Args:
        env: has a picture (an observation, a part of one, or `render_mode="rgb_array"`), or is played blind.
        name: the world's id, for messages.
        instruction: what the agent is asked to do.
        actions: text -> the env's own action.
        image: `render`, `observation`, the key of a Dict observation, or None for no picture.

    Raises:
        UserError: an action is not one of the env's, or there is no picture where `image` says.
    """

    def __init__(self, env: Env, name: str, instruction: str, actions: Mapping[str, Any], image: str | None) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(
            self, name=name, instruction=instruction, actions=actions, image=image
        )
        gymnasium.Wrapper.__init__(self, env)
        self._name, self._instruction, self._image = name, instruction, image
        self._commands = [_command(env, name, text, value) for text, value in actions.items()]
        self.action_texts = tuple(actions)
        self.action_space = spaces.Discrete(len(actions))
        parts: dict[str, spaces.Space[Any]] = {"text": Words()}
        if image is not None:
            first, _ = env.reset(seed=0)
            parts["image"] = spaces.Box(0, 255, self._picture(first).shape, np.uint8)
        self.observation_space = spaces.Dict(parts)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._native(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`; `action` is an index into `action_texts`."""
        observation, reward, terminated, truncated, info = self.env.step(self._commands[int(action)])
        return self._native(observation), float(reward), bool(terminated), bool(truncated), info

    def _native(self, observation: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {"text": self._instruction}
        if self._image is not None:
            seen["image"] = self._picture(observation)
        return seen

    def _picture(self, observation: Any) -> np.ndarray:
        if self._image == "render":
            picture = self.env.render()
        elif self._image == "observation":
            picture = observation
        else:
            picture = observation.get(self._image) if isinstance(observation, Mapping) else None
        array = np.array(picture) if picture is not None else np.zeros(0, dtype=np.uint8)
        if array.ndim == 2:
            array = array[:, :, None]
        if array.ndim != 3 or array.dtype != np.uint8 or array.shape[2] not in (1, 3):
            raise UserError(
                f"image is {self._image!r}: world {self._name!r} gives {array.dtype} {array.shape} there, "
                "not a uint8 [H, W, 3] picture. Set image: render, observation, or a key of its Dict observation."
            )
        return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _command(env: Env, name: str, text: str, value: Any) -> Any:
    """The env's own action for `text`; numbers in YAML become what its action space holds."""
    command = value
    if isinstance(env.action_space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        try:
            command = np.asarray(value, dtype=env.action_space.dtype)
        except (TypeError, ValueError):
            command = value
    if not env.action_space.contains(command):
        raise UserError(
            f"actions.{text} is {value!r}: not in the action space of {name!r}, {env.action_space}. "
            "Give each text one of its actions."
        )
    return command
