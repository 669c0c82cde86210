"""Any Gymnasium env -> pictures and words in, words out.

`make_world` stacks, from the inside: the env, `Foreign` where it isn't native, its drifts, and `World`.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs import drift
from envs.actions import behind_thought, neutralise, reader
from envs.component import UserError
from envs.finding import find_spec
from envs.foreign import Foreign
from envs.native import (
    Env,
    expert_of,
    has_expert,
    image_keys,
    is_native,
    noop_of,
    notices_of,
    potential_of,
    texts_of,
)
from envs.settings import Success, WorldSettings
from envs.types import IMAGE_MARK, Choices, Observation
from envs.words import Words

__all__ = ["Success", "World", "WorldSettings", "compose", "make_world"]

DEFAULT_MAX_STEPS = 1000
SMALL_ARRAY = 64
SENTENCE_ENDS = (".", "!", "?", ":", ";")
UNREADABLE = "(unreadable)"


class World(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """A native env that is spoken to.

    Observations are `Dict(text=..., image0=uint8 [H, W, 3], ...)`: the whole prompt, with one `<image>` mark a picture.
    `observe` makes an `Observation` of one and puts the last `history - 1` steps before it. `step` takes any text.
    """

    def __init__(self, env: Env, settings: WorldSettings) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, settings=settings)
        gymnasium.Wrapper.__init__(self, env)
        self.settings = settings
        self._keys = image_keys(env)
        inner = env.observation_space
        assert isinstance(inner, spaces.Dict)
        pictures = {f"image{i}": inner.spaces[key] for i, key in enumerate(self._keys)}
        self.observation_space = spaces.Dict({"text": Words(), **pictures})
        self.action_space = Words(texts_of(env) or ())
        limit = env.spec.max_episode_steps if env.spec is not None else None
        self._max_steps = settings.max_steps or limit or DEFAULT_MAX_STEPS
        self._noop = _noop(env, settings)
        _check_expert(env, settings)
        self._past: deque[tuple[str, tuple[np.ndarray, ...]]] = deque(maxlen=settings.history - 1)
        self._decisions = 0
        self._choices: Choices = None
        self._notices: tuple[str, ...] = ()
        self._seen: dict[str, Any] = {}
        self._potential: float | None = None

    def choices(self) -> Choices:
        """The texts allowed now; None where anything may be said, as before an action that is thought about."""
        return None if self.settings.thought else self._choices

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        native, info = self.env.reset(seed=seed, options=options)
        self._decisions = 0
        self._past.clear()
        self._notices = notices_of(self.env)
        self._potential = potential_of(info)
        return self._show(native), plain(info)

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Say something to the world.

        Args:
            action: any text. One that can't be read becomes the no-op, or leaves the world as it is where there is
                none; it counts as a decision either way.

        Returns:
            Gymnasium's five. `info` has the env's plain values, and `command` (what the env received, None if it was
            not stepped), `readable`, `cost`; where there is one, `potential_before`; on demand `expert`.

        Raises:
            ValueError: the env gave a reward, cost or potential that is not finite, or its expert an action without a
                text.
        """
        before, told = self._seen, self._answered()
        said = behind_thought(action, self.settings.thought) if self.settings.thought else action
        command, readable = self._read(said)
        self._remember(said, command, readable)
        unmoved = {} if self._potential is None else {"potential": self._potential}
        outcome: tuple[Any, Any, bool, bool, dict[str, Any]] = (before, 0.0, False, False, unmoved)
        if command is not None:
            outcome = self.env.step(command)
        native, paid, terminated, truncated, info = outcome
        cost = float(info.get("cost", 0.0))
        reward = float(paid) + (0.0 if readable else self.settings.unreadable_reward)
        if not (math.isfinite(reward) and math.isfinite(cost)):
            raise ValueError(f"the world gave reward {reward} and cost {cost}: both must be finite numbers")
        self._potential = potential_of(info)
        self._decisions += 1
        out_of_time = self._decisions >= self._max_steps and not terminated
        info = {**plain(info), **told, "command": command, "readable": readable, "cost": cost}
        return self._show(native), reward, bool(terminated), bool(truncated or out_of_time), info

    def observe(self, observation: Mapping[str, Any]) -> Observation:
        """The agent's view of the latest observation, behind what is remembered of the steps before it."""
        images = tuple(observation[f"image{i}"] for i in range(len(self._keys)))
        texts = [text for text, _ in self._past]
        past = tuple(image for _, row in self._past for image in row)
        told = "".join([*texts, observation["text"]])
        return Observation(self.settings.prompt.replace("{text}", told), past + images)

    def _answered(self) -> dict[str, Any]:
        """What goes into info about the observation that is being answered, before the env moves on."""
        told: dict[str, Any] = {}
        if self.settings.expert:
            told["expert"] = self._right_text()
        if self._potential is not None:
            told["potential_before"] = self._potential
        return told

    def _right_text(self) -> str:
        """What the agent would have to say, whatever the drifts made of controls and names."""
        action = drift.seen_through(self.env, expert_of(self.env))
        if self._choices is None:
            return str(action)
        if not 0 <= action < len(self._choices):
            raise ValueError(f"the expert's action is {action}, which has no text: there are {len(self._choices)}")
        return self._choices[int(action)]

    def _read(self, text: str) -> tuple[Any, bool]:
        if self._choices is None:
            return (text, True) if self.env.action_space.contains(text) else (self._noop, False)
        index = reader(self._choices).read(text)
        return (self._noop, False) if index is None else (index, True)

    def _show(self, native: dict[str, Any]) -> dict[str, Any]:
        """The native observation as ours; other arrays than before even where the world was not stepped."""
        again = native is self._seen
        self._seen = native
        self._choices = texts_of(self.env)
        shown: dict[str, Any] = {"text": _composed(native["text"], self._notices, self._choices, len(self._keys))}
        for i, key in enumerate(self._keys):
            shown[f"image{i}"] = native[key].copy() if again else native[key]
        return shown

    def _remember(self, said: str, command: Any, readable: bool) -> None:
        if not self._past.maxlen:
            return
        images = tuple(self._seen[key] for key in self._keys)
        shown = IMAGE_MARK * len(images) if images else neutralise(self._seen["text"]) + " "
        heard = said if self._choices is None else self._choices[command] if readable else ""
        self._past.append((f"{shown}{neutralise(heard) if readable else UNREADABLE}\n", images))


def compose(text: str, notices: Sequence[str], choices: Sequence[str] | None, images: int) -> str:
    """The prompt: pictures first (a causal model pays a picture once), then what is asked, then what may be said.

    Example:
        >>> compose("go to the red ball", ["Left and right are exchanged."], ["turn left", "turn right"], 1)
        '<image>go to the red ball. Left and right are exchanged. Say: turn left, turn right.'
    """
    parts = [sentence(neutralise(part)) for part in (text, *notices) if part.strip()]
    if choices is not None:
        parts.append(f"Say: {', '.join(neutralise(choice) for choice in choices)}.")
    return IMAGE_MARK * images + " ".join(parts)


_composed = lru_cache(maxsize=4096)(compose)  # prompts repeat, and one string object hashes once


def sentence(text: str) -> str:
    """`text` with something at its end that ends a sentence."""
    text = text.strip()
    return text if text.endswith(SENTENCE_ENDS) else f"{text}."


def plain(info: Mapping[Any, Any]) -> dict[str, Any]:
    """The part of an info that can be stored: numbers, texts, truth values, None, lists and mappings of them."""
    kept: dict[str, Any] = {}
    for key, value in info.items():
        small = isinstance(value, np.ndarray) and value.size <= SMALL_ARRAY
        one = value.tolist() if small or isinstance(value, np.generic) else value
        if one is None or isinstance(one, bool | int | float | str):
            kept[str(key)] = one
        elif isinstance(one, list | tuple):
            kept[str(key)] = list(plain(dict(enumerate(one))).values())
        elif isinstance(one, Mapping):
            kept[str(key)] = plain(one)
    return kept


def make_world(settings: WorldSettings) -> World:
    """Build one instance of a world.

    Raises:
        UserError: no such module or id, settings the env refuses, or a world that can't be spoken to.
    """
    spec = find_spec(settings.id)
    kwargs = dict(settings.kwargs)
    if settings.image == "render":
        kwargs["render_mode"] = "rgb_array"
    try:
        env: Env = gymnasium.make(spec, disable_env_checker=True, **kwargs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"world {settings.id!r} can't be made with kwargs {kwargs}: {type(error).__name__}: {error}. "
            "Give it the settings its own documentation names."
        ) from error
    env = _native(env, settings)
    for item in settings.drift:
        env = drift.load_drift(item).build(env)
    return World(env, settings)


def _native(env: Env, settings: WorldSettings) -> Env:
    given = {key: getattr(settings, key) for key in ("instruction", "actions", "image")}
    if is_native(env):
        extra = [key for key, value in given.items() if value is not None]
        if extra:
            raise UserError(
                f"{extra[0]} is set, but world {settings.id!r} brings its own. Remove it; drift can reword a world."
            )
        return env
    for key, example in (("instruction", "reach the goal"), ("actions", "{left: 0, right: 1}")):
        if not given[key]:
            raise UserError(
                f"{key} is missing: world {settings.id!r} has no words of its own (its actions: {env.action_space}). "
                f"Add, for example, {key}: {example}."
            )
    return Foreign(env, settings.id, **given)


def _noop(env: Env, settings: WorldSettings) -> Any:
    """The command of an unreadable reply: the env's own, seen through the drifts."""
    undrifted = drift.undrifted(env)
    noop = noop_of(undrifted)
    if settings.noop is not None:
        texts = texts_of(undrifted) or ()
        if settings.noop not in texts:
            there = ", ".join(texts) or "an open set of answers"
            raise UserError(f"noop is {settings.noop!r}: no action of {settings.id!r}. There are: {there}.")
        noop = texts.index(settings.noop)
    return drift.seen_through(env, noop)


def _check_expert(env: Env, settings: WorldSettings) -> None:
    """A foreign env's own `expert` would speak of actions that have other numbers here."""
    if settings.expert and (isinstance(drift.undrifted(env), Foreign) or not has_expert(env)):
        raise UserError(
            f"expert is true, but world {settings.id!r} does not know the right action. Set expert: false, or give the "
            "env a method expert() that returns it (see envs.native)."
        )
