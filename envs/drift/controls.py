"""Two actions change places: each does what the other did."""

from typing import Annotated, Any

from pydantic import Field

from envs.drift import Drift, DriftSettings, require_texts
from envs.native import Env, texts_of


class Config(DriftSettings):
    """`{type: controls, exchange: ["turn left", "turn right"]}`."""

    exchange: Annotated[list[str], Field(min_length=2, max_length=2)]

    def build(self, env: Env) -> Env:
        """Wrap `env`."""
        require_texts(env, self.exchange, "drift.exchange")
        return Controls(env, self)


class Controls(Drift):
    """Exchanges the effect of two action texts."""

    def __init__(self, env: Env, settings: Config) -> None:
        super().__init__(env, settings)
        self._pair = settings.exchange

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        return self.env.step(self.outer_action(action))

    def outer_action(self, action: Any) -> Any:
        """An exchange is its own inverse. An env's no-op may have no text, and stays."""
        texts = texts_of(self.env) or ()
        if action >= len(texts) or texts[action] not in self._pair:
            return action
        return texts.index(self._pair[1 - self._pair.index(texts[action])])

    def notice(self) -> str:
        """Short: what the two texts share is left out."""
        first, second = (text.split() for text in self._pair)
        while len(first) > 1 and len(second) > 1 and first[0] == second[0]:
            first, second = first[1:], second[1:]
        while len(first) > 1 and len(second) > 1 and first[-1] == second[-1]:
            first, second = first[:-1], second[:-1]
        said = f"{' '.join(first)} and {' '.join(second)} are exchanged."
        return said[0].upper() + said[1:]
