"""Something is taken away: every picture becomes one grey, or the instruction is gone. Nothing is said about it.

A control more than a drift: an agent that does as well as before never looked, or never listened.
"""

from typing import Any, Literal

import gymnasium
import numpy as np

from envs.drift import Drift, DriftSettings
from envs.native import IMAGE_KEY, Env

GREY = 128  # not black: some processors take a picture of zeros for none


class Config(DriftSettings):
    """`{type: blank, what: pictures}` or `{type: blank, what: text}`: notices and the choices stay."""

    what: Literal["pictures", "text"]

    def build(self, env: Env) -> Env:
        """Wrap `env`."""
        return Blank(env, self)


class Blank(gymnasium.ObservationWrapper[Any, Any, Any], Drift):
    """Shows grey pictures, or no instruction."""

    def __init__(self, env: Env, settings: Config) -> None:
        Drift.__init__(self, env, settings)
        self._pictures = settings.what == "pictures"

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation without what is taken away."""
        if not self._pictures:
            return {**observation, "text": ""}
        grey = {key: np.full_like(value, GREY) for key, value in observation.items() if key.startswith(IMAGE_KEY)}
        return {**observation, **grey}
