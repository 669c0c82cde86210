"""Wrappers that change a native world, one a file. They sit inside `World`, so the agent meets the changed world whole.

A drift is a component: `{type: controls, ...}` is `envs/drift/controls.py`, whose `Config.build(env)` wraps the env.
`said` decides whether the agent is told. Told (or visible in the words themselves), the old and the new world can both
be kept: the drift *adds* a regime. Untold, nothing tells them apart: it *replaces* one. The stream declares which.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium

from envs.component import Settings, UserError, load
from envs.native import Env, notices_of, texts_of


class DriftSettings(Settings):
    """What all drifts share.

    Attributes:
        said: whether the agent is told in one sentence; or that sentence, in own words.
    """

    said: bool | str = True

    @abstractmethod
    def build(self, env: Env) -> Env:
        """Wrap `env`."""


class Drift(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Base of the wrappers: keeps the contract of a native world, and says itself."""

    def __init__(self, env: Env, settings: DriftSettings) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, settings=settings)
        gymnasium.Wrapper.__init__(self, env)
        self._said = settings.said

    def notice(self) -> str:
        """The sentence that says what has changed; empty where the changed words show it themselves."""
        return ""

    def outer_action(self, action: Any) -> Any:
        """The action that, given to this wrapper, reaches the env inside as `action`."""
        return action

    @property
    def notices(self) -> tuple[str, ...]:
        """What this wrapper and those inside it say."""
        own = self._said if isinstance(self._said, str) else self.notice() if self._said else ""
        return (*notices_of(self.env), own) if own else notices_of(self.env)


def load_drift(item: Mapping[str, Any]) -> DriftSettings:
    """The validated settings of one drift.

    Raises:
        UserError: no such drift.
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    settings = load("envs.drift", item, "drift")
    if not isinstance(settings, DriftSettings):
        raise UserError(f"drift '{item['type']}': its Config is not an envs.drift.DriftSettings. Derive it from that.")
    return settings


def undrifted(env: Env) -> Env:
    """The env beneath all drifts."""
    while isinstance(env, Drift):
        env = env.env
    return env


def seen_through(env: Env, action: Any) -> Any:
    """The action that, given to the outermost drift, reaches the env beneath all drifts as `action`."""
    if action is None or not isinstance(env, Drift):
        return action
    return env.outer_action(seen_through(env.env, action))


def require_texts(env: Env, wanted: Sequence[str], setting: str) -> None:
    """Raise UserError unless every one of `wanted` is an action text of `env`."""
    texts = texts_of(env)
    if texts is None:
        raise UserError(f"{setting} names actions, but in this world anything may be said. Remove this drift.")
    for text in wanted:
        if text not in texts:
            raise UserError(f"{setting} has {text!r}: no such action here. There are: {', '.join(texts)}.")
