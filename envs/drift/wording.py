"""The instruction is put into other words. They show it, so nothing else is said unless `said` gives a sentence."""

import re
from typing import Any

import gymnasium
from pydantic import Field, model_validator

from envs.drift import Drift, DriftSettings
from envs.native import Env

TEXT = "{text}"


class Config(DriftSettings):
    """`{type: wording, replace: {"go to": "walk over to", red: crimson}, template: "Dear robot, {text}"}`, one or both.

    Attributes:
        replace: whole words -> other words, all at once, so that two words may be exchanged.
        template: what stands around the text.
    """

    replace: dict[str, str] = Field(default_factory=dict)
    template: str = TEXT

    @model_validator(mode="after")
    def _changes(self) -> "Config":
        if "" in self.replace:
            raise ValueError("replace has an empty text to look for. Name the words.")
        if TEXT not in self.template:
            raise ValueError(f"template is {self.template!r}: the instruction would be lost. Put {TEXT} where it goes.")
        if not self.replace and self.template == TEXT:
            raise ValueError("it changes nothing. Give replace: {OLD: NEW} or template.")
        return self

    def build(self, env: Env) -> Env:
        """Wrap `env`."""
        return Wording(env, self)


class Wording(gymnasium.ObservationWrapper[Any, Any, Any], Drift):
    """Rewords the text of every observation."""

    def __init__(self, env: Env, settings: Config) -> None:
        Drift.__init__(self, env, settings)
        self._replace, self._template = settings.replace, settings.template
        longest_first = sorted(settings.replace, key=len, reverse=True)
        self._pattern = re.compile("|".join(rf"(?<!\w){re.escape(old)}(?!\w)" for old in longest_first))

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation in other words."""
        text = observation["text"]
        if self._replace:
            text = self._pattern.sub(lambda found: self._replace[found.group()], text)
        return {**observation, "text": self._template.replace(TEXT, text)}
