"""The frozen base's own view: its last hidden state of the whole prompt, beside the mean embedding of the words.

The state says what the base would do there, the words what was asked; docs/memory/embedding.md has what each finds
alone. Adapters are off, so vectors of different cycles can be compared, and never go stale.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field

from agent.lvlm.adapters import BASE
from agent.policy import Policy
from envs.component import Settings
from envs.types import Observation
from memory.images import content_key

POOLING = 2
"""Part of the version: raise it with every change of what is pooled, or how."""


class Config(Settings):
    """`dimension` is the most numbers a vector has: longer ones are projected by a fixed random matrix."""

    dimension: int = Field(256, ge=8)

    def build(self) -> "Lvlm":
        return Lvlm(self)


class Lvlm:
    """Implements `agent.embedders.FromPolicy`."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def bind(self, policy: Policy) -> "LvlmEmbedder":
        """See `agent.embedders.FromPolicy`."""
        return LvlmEmbedder(policy, self.settings.dimension)


class LvlmEmbedder:
    """Implements `memory.embedding.Embedder`; a vector depends neither on its neighbours in a batch nor on adapters."""

    def __init__(self, policy: Policy, most: int = 256) -> None:
        """`most` numbers at most: the two halves together have twice the model's width."""
        self._policy = policy
        width = 2 * int(policy.engine.embed.weight.shape[1])
        self.dimension = min(most, width)
        self.version = f"lvlm-{POOLING}/{self.dimension}/{policy.checkpoint.identity[:12]}"
        self._projection = projection(width, self.dimension) if self.dimension < width else None

    @torch.no_grad()
    def embed(self, observations: Sequence[Observation]) -> np.ndarray:
        """One vector each, float32 `[n, dimension]`; what was seen twice is computed once."""
        distinct: dict[object, int] = {}
        places = []
        for place, observation in enumerate(observations):
            shown = (observation.text, *map(content_key, observation.images))
            places.append(distinct.setdefault(shown, place))
        firsts = sorted(distinct.values())
        if not firsts:
            return np.zeros((0, self.dimension), np.float32)
        rows = self._embed([observations[place] for place in firsts])
        return rows[np.searchsorted(firsts, places)]

    def _embed(self, observations: Sequence[Observation]) -> np.ndarray:
        policy = self._policy
        with policy.using(BASE):
            words = {observation.text: mean_word(policy, observation) for observation in observations}
            rows = policy.asking.rows(observations, [None] * len(observations))
            states: dict[int, torch.Tensor] = {}

            def read(some: list[int]) -> list[torch.Tensor]:
                told = policy.engine.read([rows[i] for i in some], policy.budget.tokens)
                return [row.state.float().cpu() for row in told]

            for some, read_now in policy.budget.each([len(row) for row in rows], read, retry=True):
                states.update(zip(some, read_now, strict=True))
        said = torch.stack([states[i] for i in range(len(rows))])
        asked = torch.stack([words[observation.text] for observation in observations])
        both = torch.cat([unit(said), unit(asked)], dim=1).numpy()
        return both if self._projection is None else both @ self._projection


def mean_word(policy: Policy, observation: Observation) -> torch.Tensor:
    """Mean embedding of the prompt's tokens `[hidden]`, the places of pictures left out."""
    ids = policy.prompter.prompt(observation).ids
    kept = torch.from_numpy(ids[ids != policy.checkpoint.image_token]).to(policy.engine.device)
    return policy.engine.embed(kept).float().mean(0).cpu()


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Scaled to length 1 along the last axis; zeros stay zeros."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def projection(width: int, dimension: int) -> np.ndarray:
    """Signs float32 `[width, dimension]` that nearly keep angles (Achlioptas 2003), the same at every call."""
    signs = 2 * np.random.default_rng(0).integers(0, 2, (width, dimension)) - 1
    return (signs / np.sqrt(dimension)).astype(np.float32)
