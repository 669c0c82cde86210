"""The LVLM's own embedder: the frozen tower's features and the words' embeddings, pooled. It never goes stale."""

from collections.abc import Sequence

import numpy as np
import torch

from agent.lvlm.adapters import BASE
from agent.policy import Policy
from envs.types import Observation


class LvlmEmbedder:
    """Implements `memory.embedding.Embedder`: mean picture feature beside mean word embedding, each of length 1.

    Both come from the base's weights, adapters off, so vectors of different cycles can be compared.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._words: dict[str, torch.Tensor] = {}
        self.hidden = int(policy.engine.embed.weight.shape[1])
        self.dimension = 2 * self.hidden
        self.version = f"lvlm-{policy.checkpoint.identity[:12]}"

    @torch.no_grad()
    def embed(self, observations: Sequence[Observation]) -> np.ndarray:
        """One vector each, float32 `[n, dimension]`, of length 1."""
        with self._policy.using(BASE):
            pictures = self._policy.vision.pictures([o.images for o in observations])
        rows = []
        for observation, of_it in zip(observations, pictures, strict=True):
            seen = [picture.flat.float().mean(0).cpu() for picture in of_it]
            picture = torch.stack(seen).mean(0) if seen else torch.zeros(self.hidden)
            rows.append(torch.cat([unit(picture), unit(self._text(observation))]))
        return unit(torch.stack(rows)).numpy() if rows else np.zeros((0, self.dimension), dtype=np.float32)

    def _text(self, observation: Observation) -> torch.Tensor:
        if observation.text not in self._words:
            ids = self._policy.prompter.prompt(observation).ids
            words = torch.from_numpy(ids[ids != self._policy.checkpoint.image_token]).to(self._policy.engine.device)
            self._words[observation.text] = self._policy.engine.embed(words).float().mean(0).cpu()
        return self._words[observation.text]


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Scaled to length 1 along the last axis; zeros stay zeros."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
