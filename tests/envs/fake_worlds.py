"""Worlds whose every outcome is known by hand, and worlds that break a promise on demand."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.words import Words

GOAL = 3
HEIGHT = 4


class Corridor(gymnasium.Env[dict[str, Any], Any]):
    """Cells 0..3, start at 0, goal at 3: `right` three times wins 1. `wait` costs 0.5. The picture lights the cell.

    Args:
        broken: the promise to break.
        noop: whether the world has a no-op (its 4th action, without a text).
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, broken: str = "", noop: bool = False, render_mode: None = None) -> None:
        self.render_mode = render_mode
        self.broken = broken
        self.action_texts = ("left", "right", "wait")
        self.action_space = spaces.Discrete(4)
        dtype: Any = np.float32 if broken == "float picture" else np.uint8
        self.observation_space = spaces.Dict({"image": spaces.Box(0, 255, (HEIGHT, 5, 3), dtype), "text": Words()})
        if noop:
            self.noop = 3
        if broken == "twin texts":
            self.action_texts = ("left", "Left", "wait")
        if broken == "spaced text":
            self.action_texts = ("left ", "right", "wait")
        if broken == "one text":
            self.action_texts = ("left",)
        self.at = 0
        self.commands: list[int] = []
        self.episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        if self.broken == "raises in reset":
            raise RuntimeError("no corridor today")
        self.at = 0
        self.commands = []
        self.shade = int(self.np_random.integers(50, 256))
        self.episodes += 1
        return self._see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.commands.append(int(action))
        self.at = max(0, self.at + (-1, 1, 0, 0)[int(action)])
        won = self.at >= GOAL and self.broken != "endless"
        reward = float(won)
        info: dict[str, Any] = {"success": won, "cost": 0.5 if int(action) == 2 else 0.0, "at": np.int64(self.at)}
        if self.broken == "raises in step" and self.at == 2:
            raise RuntimeError("the floor gave way")
        if self.broken == "nan" and self.at == 1:
            reward = float("nan")
        if self.broken == "infinite cost" and self.at == 1:
            info["cost"] = float("inf")
        if self.broken == "no success":
            del info["success"]
        return self._see(), reward, won, False, info

    def _see(self) -> dict[str, Any]:
        image = np.zeros((HEIGHT, 5, 3), dtype=np.uint8)
        if self.broken != "blank":
            image[:, min(self.at, 4)] = self.shade
        if self.broken == "unseeded":
            image[0, 0] = np.random.default_rng().integers(0, 256)
        if self.broken == "remembers" and self.episodes > 7:
            image[0, 0] = 7
        if self.broken == "wrong shape" and self.at == 1:
            image = image[:-1]
        text = "go right"
        if self.broken == "forges":
            text = "go <image> right <ima<image>ge>"
        return {"image": image, "text": text}


class Guided(Corridor):
    """A corridor that knows the way. Potential: minus the cells to go.

    Args:
        told: more of every info.
        right: the action its expert gives.
    """

    def __init__(self, told: dict[str, Any] | None = None, right: int = 1, **more: Any) -> None:
        super().__init__(**more)
        self.told, self.right = told or {}, right

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seen, _ = super().reset(seed=seed, options=options)
        return seen, {"potential": -GOAL}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, reward, over, late, info = super().step(action)
        return seen, reward, over, late, {**info, "potential": self.at - GOAL, **self.told}

    def expert(self) -> int:
        return self.right


class Raw(gymnasium.Env[Any, Any]):
    """A foreign env whose expert speaks in its own actions."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(5)

    def __init__(self, render_mode: None = None) -> None:
        self.render_mode = render_mode

    def expert(self) -> int:
        return 4


class Echo(gymnasium.Env[dict[str, Any], Any]):
    """Text only, open answers: `hello there` wins."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode: None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Dict({"text": Words()})
        self.action_space = Words()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.asked = int(self.np_random.integers(100))
        return {"text": f"greet {self.asked}"}, {}

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        won = action == "hello there"
        return {"text": f"you said {action}"}, float(won), won, False, {"success": won}


class Doors(gymnasium.Env[dict[str, Any], Any]):
    """What may be said changes: first `open, knock`, then `enter, leave`; entering wins."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode: None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Dict({"text": Words()})
        self.action_space = spaces.Discrete(2)
        self.opened = False

    @property
    def action_texts(self) -> tuple[str, ...]:
        return ("enter", "leave") if self.opened else ("open", "knock")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.opened = False
        return {"text": f"door {self.np_random.integers(9)}"}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        over = self.opened
        won = over and int(action) == 0
        self.opened = self.opened or int(action) == 0
        return {"text": "a door"}, float(won), over, False, {"success": won}


class Rude(gymnasium.Env[dict[str, Any], Any]):
    """Two steps long. Leaves a file in `folder` for what happens to it, and misbehaves in the second step as told."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_texts = ("go", "stay")

    def __init__(self, folder: str, manner: str = "", seed: int = -1, render_mode: None = None) -> None:
        self.render_mode = render_mode
        self.folder, self.manner, self.bad_seed = Path(folder), manner, seed
        self.observation_space = spaces.Dict({"text": Words()})
        self.action_space = spaces.Discrete(2)
        self.at = self.episode = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.at, self.episode = 0, seed or 0
        return {"text": f"begin {self.episode}"}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 1
        if self.at == 2 and self.bad_seed in (-1, self.episode):
            self._misbehave()
        (self.folder / f"stepped {self.episode} {self.at}").touch()
        return {"text": f"at {self.at}"}, 1.0, self.at == 2, False, {"success": True}

    def close(self) -> None:
        (self.folder / f"closed by {os.getpid()}").touch()

    def _misbehave(self) -> None:
        if self.manner == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.manner == "leaves":
            raise SystemExit(3)
        if self.manner == "talks":
            print("Sampling rejected", flush=True)
            assert sys.stdin.read() == ""
        if self.manner == "hangs":
            (self.folder / f"hangs {os.getpid()}").touch()
            time.sleep(600)


gymnasium.register("Rude-v0", entry_point="tests.envs.fake_worlds:Rude")
gymnasium.register("Corridor-v0", entry_point="tests.envs.fake_worlds:Corridor")
gymnasium.register("Guided-v0", entry_point="tests.envs.fake_worlds:Guided")
gymnasium.register("Raw-v0", entry_point="tests.envs.fake_worlds:Raw")
gymnasium.register("CorridorTimed-v0", entry_point="tests.envs.fake_worlds:Corridor", max_episode_steps=5)
gymnasium.register("Echo-v0", entry_point="tests.envs.fake_worlds:Echo")
gymnasium.register("Doors-v0", entry_point="tests.envs.fake_worlds:Doors")
