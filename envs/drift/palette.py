"""The picture's colours change places, exactly: its red, green and blue channels are permuted."""

from typing import Annotated, Any

import gymnasium
import numpy as np
from pydantic import AfterValidator

from envs.drift import Drift, DriftSettings
from envs.native import IMAGE_KEY, Env

NAMES = ("red", "green", "blue")


def _permutation(value: list[int]) -> list[int]:
    if sorted(value) != [0, 1, 2] or value == [0, 1, 2]:
        raise ValueError(f"{value} is no change of order of [0, 1, 2]. Use, for example, [2, 0, 1] or [2, 1, 0].")
    return value


class Config(DriftSettings):
    """`{type: palette, channels: [2, 0, 1]}`: the new red is the old blue (2), and so on."""

    channels: Annotated[list[int], AfterValidator(_permutation)]

    def build(self, env: Env) -> Env:
        """Wrap `env`."""
        return Palette(env, self)


class Palette(gymnasium.ObservationWrapper[Any, Any, Any], Drift):
    """Permutes the channels of every picture."""

    def __init__(self, env: Env, settings: Config) -> None:
        Drift.__init__(self, env, settings)
        self._channels = settings.channels

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation in other colours."""
        changed = {
            key: np.ascontiguousarray(value[:, :, self._channels])
            for key, value in observation.items()
            if key.startswith(IMAGE_KEY)
        }
        return {**observation, **changed}

    def notice(self) -> str:
        """How the pure colours look now."""
        moved = [(NAMES[old], NAMES[new]) for new, old in enumerate(self._channels) if new != old]
        said = ", ".join(f"{old} looks {new}" for old, new in sorted(moved, key=lambda pair: NAMES.index(pair[0])))
        return said[0].upper() + said[1:] + "."
