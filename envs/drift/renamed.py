"""Actions get other words. The choices show it, so nothing else is said unless `said` gives a sentence."""

from typing import Annotated

from pydantic import Field

from envs.component import UserError
from envs.drift import Drift, DriftSettings, require_texts
from envs.native import Env, texts_of


class Config(DriftSettings):
    """`{type: renamed, names: {"turn left": port, "turn right": starboard}}`."""

    names: Annotated[dict[str, str], Field(min_length=1)]

    def build(self, env: Env) -> Env:
        """Wrap `env`."""
        require_texts(env, list(self.names), "drift.names")
        renamed = Renamed(env, self)
        texts = renamed.action_texts
        twice = [text for text in texts if texts.count(text) > 1]
        if twice:
            raise UserError(f"drift.names gives two actions the name {twice[0]!r}. Give each its own.")
        return renamed


class Renamed(Drift):
    """Shows other action texts; the actions stay where they are."""

    def __init__(self, env: Env, settings: Config) -> None:
        super().__init__(env, settings)
        self._names = settings.names

    @property
    def action_texts(self) -> tuple[str, ...]:
        """The texts by their new names."""
        return tuple(self._names.get(text, text) for text in texts_of(self.env) or ())
