"""Observations as vectors. Embedders by name lie in agent/embedders and are handed in; this one needs no model."""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from envs.preface import own
from envs.types import Episode, Observation


class Embedder(Protocol):
    """Turns observations into vectors that lie near each other when the observations are alike.

    Attributes:
        version: says which embedder this is: vectors of two versions are never mixed.
        dimension: length of a vector.
    """

    @property
    def version(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    def embed(self, observations: Sequence[Observation]) -> np.ndarray:
        """Float32 `[n, dimension]`, finite, of any length: similarity is the cosine."""
        ...


def embed_steps(embedder: Embedder, episodes: Sequence[Episode]) -> list[np.ndarray]:
    """Vectors of what the worlds themselves showed in each episode, float32 `[steps, dimension]`, in one question.

    Without what was put in front: steps are alike where their worlds were.

    Raises:
        ValueError: it gave vectors of the wrong shape, or some that are not finite.
    """
    seen = [own(step) for episode in episodes for step in episode.steps]
    matrix = embedder.embed(seen) if seen else np.empty((0, embedder.dimension), np.float32)
    check_vectors(matrix, len(seen), embedder, f"memory.embedder {embedder.version}")
    ends = np.cumsum([len(episode.steps) for episode in episodes])
    return np.split(matrix, ends[:-1]) if episodes else []


def check_vectors(matrix: np.ndarray, count: int, embedder: Embedder, whose: str) -> None:
    """Make sure that there is one vector for each step, each of finite numbers.

    Raises:
        ValueError: the shape is wrong, or a number is not finite.
    """
    wanted = (count, embedder.dimension)
    if np.shape(matrix) != wanted or not np.isfinite(matrix).all():
        raise ValueError(f"{whose}: vectors must be finite {list(wanted)}, these are {list(np.shape(matrix))}")


class HashEmbedder:
    """Mean colours of a coarse grid beside hashed words. Deterministic, and as good as a fake may be."""

    def __init__(self, dimension: int = 256) -> None:
        """`dimension` is at least 8: about half of it is for colours, the rest for words."""
        if dimension < 8:
            raise ValueError(f"dimension is {dimension}: 8 or more are needed")
        self.dimension = dimension
        self.version = f"hash-1/{dimension}"
        self._grid = int((dimension / 6) ** 0.5)
        self._colours = 3 * self._grid**2
        self._words = lru_cache(4096)(self._embed_words)

    def embed(self, observations: Sequence[Observation]) -> np.ndarray:
        """Float32 `[n, dimension]`; the two halves have length 1 each, or 0 where there is nothing."""
        out = np.zeros((len(observations), self.dimension), np.float32)
        cache: dict[int, np.ndarray] = {}
        for row, observation in zip(out, observations, strict=True):
            row[self._colours :] = self._words(observation.text)
            if observation.images:
                for image in observation.images:
                    if id(image) not in cache:
                        cache[id(image)] = self._pool(image)
                row[: self._colours] = _unit(np.sum([cache[id(image)] for image in observation.images], axis=0))
        return out

    def _pool(self, image: np.ndarray) -> np.ndarray:
        """Mean colour of each cell of the grid, float32 `[3 * grid**2]` around 0; `image` is uint8 `[H, W, C]`."""
        if image.size == 0:
            return np.zeros(self._colours, np.float32)
        height, width = image.shape[:2]
        rows = np.arange(self._grid) * height // self._grid
        columns = np.arange(self._grid) * width // self._grid
        sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=np.int64), columns, axis=1)
        area = np.maximum(np.diff([*rows, height]), 1)[:, None] * np.maximum(np.diff([*columns, width]), 1)
        mean = sums / area[..., None] - 127.5
        return np.resize(mean.transpose(2, 0, 1), (3, self._grid, self._grid)).astype(np.float32).ravel()

    def _embed_words(self, text: str) -> np.ndarray:
        out = np.zeros(self.dimension - self._colours, np.float32)
        for word in text.lower().split():
            code = zlib.crc32(word.encode())
            out[(code >> 1) % len(out)] += 1 - 2 * (code & 1)
        return _unit(out)


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.sqrt(np.sum(np.square(vector, dtype=np.float64))))
    return vector if length == 0 else (vector / length).astype(np.float32)
