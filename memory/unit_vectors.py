"""Vectors as they lie in SQLite: of length 1, float16.

Similarity is the cosine, so lengths say nothing; and float16 keeps a number of a vector of length 1 to 5e-4 of itself,
a cosine to 1e-3, in half the room of float32. Whoever compares, compares what was rounded: index, oracle and truth.
"""

import numpy as np

NUMBER_BYTES = 2


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 `[n, d]`; rows of zeros stay."""
    lengths = np.sqrt(np.sum(np.square(vectors, dtype=np.float64), axis=1, keepdims=True))
    return np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)


def pack_vectors(vectors: np.ndarray) -> bytes:
    """Float32 `[n, d]` of any length as bytes."""
    return unit(vectors).astype("<f2").tobytes()


def unpack_vectors(data: bytes, dimension: int) -> np.ndarray:
    """Float32 `[n, dimension]`, of length 1 but for the rounding, writable.

    Raises:
        ValueError: bytes are missing.
    """
    return np.frombuffer(data, dtype="<f2").astype(np.float32).reshape(-1, dimension)
