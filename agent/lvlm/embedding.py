"""The LVLM's own embedder: the frozen tower's features and the words' embeddings, pooled. It never goes stale."""

from collections.abc import Sequence

import numpy as np
import torch

from agent.policy import Policy
from envs.types import Observation


class LvlmEmbedder:
    """Implements `memory.embedding.Embedder`: mean picture feature beside mean word embedding, each of length 1.

    Both come from weights that no adapter touches, so vectors of different cycles can be compared.
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
        features = iter(self._policy.vision.features([image for o in observations for image in o.images])[1])
        rows = []
        for observation in observations:
            seen = [next(features).mean(0) for _ in observation.images]
            picture = torch.stack(seen).mean(0) if seen else torch.zeros(self.hidden)
            rows.append(torch.cat([unit(picture), unit(self._text(observation))]))
        return unit(torch.stack(rows)).numpy() if rows else np.zeros((0, self.dimension), dtype=np.float32)

    def _text(self, observation: Observation) -> torch.Tensor:
        if observation.text not in self._words:
            ids = self._policy.prompter.prompt(observation)
            words = torch.from_numpy(ids[ids != self._policy.checkpoint.image_token])
            self._words[observation.text] = self._policy.engine.embed(words).mean(0)
        return self._words[observation.text]


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Scaled to length 1 along the last axis; zeros stay zeros."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
