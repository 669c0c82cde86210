"""stable-baselines3's PPO around the same LVLM, written the plain way: what a user would write without holdtrue.

The features extractor runs the whole LVLM on pictures and token ids; SB3's own `collect_rollouts` and `train` do the
rest. The worlds cost nothing: they serve observations that were made before, and pay at random.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.material import Peer
from envs.types import Observation

Seen = dict[str, np.ndarray]


class Served(VecEnv):
    """As many worlds as there are at once; every step shows the next of the observations, whatever was done."""

    def __init__(self, first: Seen, worlds: int, actions: int) -> None:
        shown = {
            "pixels": spaces.Box(0, 255, first["pixels"].shape[1:], np.uint8),
            "ids": spaces.Box(0, 2**31 - 1, first["ids"].shape[1:], np.int64),
            "mask": spaces.Box(0, 1, first["mask"].shape[1:], np.int64),
        }
        super().__init__(worlds, spaces.Dict(shown), spaces.Discrete(actions))
        self.seen = first
        self.at = 0
        self.rng = np.random.default_rng(0)

    def serve(self, seen: Seen) -> None:
        """Show these from now on."""
        self.seen, self.at = seen, 0

    def _next(self) -> Seen:
        places = (self.at + np.arange(self.num_envs)) % len(self.seen["ids"])
        self.at += self.num_envs
        return {name: values[places] for name, values in self.seen.items()}

    def reset(self) -> Any:
        return self._next()

    def step_async(self, actions: np.ndarray) -> None:
        """Nothing to start."""

    def step_wait(self) -> Any:
        rewards = self.rng.random(self.num_envs, dtype=np.float32)
        return self._next(), rewards, np.ones(self.num_envs, dtype=bool), [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class Lvlm(BaseFeaturesExtractor):
    """The LVLM's last state at the prompt's end."""

    def __init__(self, space: spaces.Dict, peer: Peer) -> None:
        super().__init__(space, peer.model.config.text_config.hidden_size)
        self.body = peer.adapted().base_model.model.model
        about = peer.processor.image_processor
        std, mean = (torch.tensor(numbers).view(1, 1, 3, 1, 1) for numbers in (about.image_std, about.image_mean))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, seen: dict[str, torch.Tensor]) -> torch.Tensor:
        states = self.body(
            input_ids=seen["ids"].long(),
            attention_mask=seen["mask"].long(),
            pixel_values=seen["pixels"][:, None] * self.scale + self.shift,
            use_cache=False,
        )
        return states.last_hidden_state[:, -1]  # prompts are padded on the left


class Sb3:
    """SB3's PPO, warm."""

    def __init__(
        self,
        peer: Peer,
        first: Sequence[Observation],
        worlds: int,
        actions: int,
        epochs: int,
        minibatch: int,
        rate: float,
    ) -> None:
        self.peer = peer
        self.env = Served(self.ready(first), worlds, actions)
        self.samples = len(first)
        self.ppo = PPO(
            ActorCriticPolicy,
            self.env,
            n_steps=len(first) // worlds,
            batch_size=minibatch,
            n_epochs=epochs,
            learning_rate=rate,
            device="cpu",
            verbose=0,
            policy_kwargs={
                "features_extractor_class": Lvlm,
                "features_extractor_kwargs": {"peer": peer},
                "net_arch": [],
                "ortho_init": False,
                "normalize_images": False,
            },
        )

    def ready(self, observations: Sequence[Observation]) -> Seen:
        """The observations as fixed arrays, made before time is taken."""
        inputs = self.peer.tokens(observations)
        pixels = np.stack([observation.images[0].transpose(2, 0, 1) for observation in observations])
        return {"pixels": pixels, "ids": inputs["input_ids"].numpy(), "mask": inputs["attention_mask"].numpy()}

    def learn(self, seen: Seen) -> None:
        """One rollout over all of `seen`, and its update."""
        self.env.serve(seen)
        self.ppo._last_obs = None  # the rollout begins with what is served now
        self.ppo.learn(self.samples, log_interval=None, reset_num_timesteps=False)
