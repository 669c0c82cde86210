"""Nearest vectors by cosine: FAISS behind a small protocol, and plain NumPy as its oracle. The only faiss import."""

from typing import Any, Protocol, Self

import faiss
import numpy as np

faiss.omp_set_num_threads(1)  # beside torch, two OpenMP pools fight each other


class VectorIndex(Protocol):
    """Vectors by id. What is stored has length 1 (or 0), so similarities are cosines in -1..1."""

    dimension: int

    def __init__(self, dimension: int) -> None: ...

    def __len__(self) -> int: ...

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Store float32 `[n, dimension]` under int64 `[n]`; an id that is there, or comes twice, takes its last vector.

        Raises:
            ValueError: shapes do not fit, or a vector is not finite.
        """
        ...

    def remove(self, ids: np.ndarray) -> None:
        """Forget these ids; unknown ones are ignored."""
        ...

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest `min(k, len(self))` of each query, best first, the lower id first among equals.

        Returns:
            ids int64 `[n, k]` and similarities float32 `[n, k]`.

        Raises:
            ValueError: shapes do not fit, or a query is not finite.
        """
        ...

    def dump(self) -> np.ndarray:
        """Everything as uint8 `[bytes]`, for `load`."""
        ...

    @classmethod
    def load(cls, data: np.ndarray) -> Self:
        """The inverse of `dump`. Give it only bytes whose checksum was right: FAISS does not notice damage."""
        ...


class FaissIndex:
    """Exact search by FAISS. Ids that only grow are appended without looking back."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        self._top = -1  # highest id ever stored

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """See `VectorIndex.add`."""
        ids, vectors = _checked(ids, vectors, self.dimension)
        if not len(ids):
            return
        if ids[0] <= self._top:
            self.remove(ids)  # FAISS would keep both
        self._index.add_with_ids(vectors, ids)
        self._top = max(self._top, int(ids[-1]))

    def remove(self, ids: np.ndarray) -> None:
        """See `VectorIndex.remove`. Costs a pass over all vectors: remove many at once."""
        if len(ids) and len(self):
            self._index.remove_ids(np.ascontiguousarray(ids, np.int64))

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `VectorIndex.search`."""
        queries = unit(_matrix(queries, self.dimension))
        k = min(k, len(self))
        if k < 1 or not len(queries):
            return _nothing(len(queries))
        similarities, ids = self._index.search(queries, k)
        order = np.lexsort((ids, -similarities), axis=1)
        return np.take_along_axis(ids, order, 1), np.take_along_axis(similarities, order, 1)

    def dump(self) -> np.ndarray:
        """See `VectorIndex.dump`."""
        return faiss.serialize_index(self._index)

    @classmethod
    def load(cls, data: np.ndarray) -> "FaissIndex":
        """See `VectorIndex.load`."""
        inner: Any = faiss.deserialize_index(data)
        out = cls(inner.d)
        out._index = inner
        ids = faiss.vector_to_array(inner.id_map)
        out._top = int(ids.max()) if len(ids) else -1
        return out


class ExactIndex:
    """The same in NumPy, slow and plain: what tests compare with."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._ids = np.empty(0, np.int64)
        self._vectors = np.empty((0, dimension), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """See `VectorIndex.add`."""
        ids, vectors = _checked(ids, vectors, self.dimension)
        self.remove(ids)
        self._ids = np.concatenate([self._ids, ids])
        self._vectors = np.concatenate([self._vectors, vectors])

    def remove(self, ids: np.ndarray) -> None:
        """See `VectorIndex.remove`."""
        stay = ~np.isin(self._ids, ids)
        self._ids, self._vectors = self._ids[stay], self._vectors[stay]

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `VectorIndex.search`."""
        queries = unit(_matrix(queries, self.dimension))
        if min(k, len(self)) < 1 or not len(queries):
            return _nothing(len(queries))
        similarities = queries @ self._vectors.T
        ids = np.broadcast_to(self._ids, similarities.shape)
        order = np.lexsort((ids, -similarities), axis=1)[:, :k]
        return np.take_along_axis(ids, order, 1), np.take_along_axis(similarities, order, 1)

    def dump(self) -> np.ndarray:
        """See `VectorIndex.dump`."""
        head = np.array([len(self), self.dimension], np.int64)
        return np.concatenate([part.view(np.uint8).ravel() for part in (head, self._ids, self._vectors)])

    @classmethod
    def load(cls, data: np.ndarray) -> "ExactIndex":
        """See `VectorIndex.load`."""
        count, dimension = data[:16].view(np.int64).tolist()
        out = cls(dimension)
        out._ids = data[16 : 16 + 8 * count].view(np.int64).copy()
        out._vectors = data[16 + 8 * count :].view(np.float32).reshape(count, dimension).copy()
        return out


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 `[n, d]`; rows of zeros stay."""
    lengths = np.sqrt(np.sum(np.square(vectors, dtype=np.float64), axis=1, keepdims=True))
    return np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)


def _checked(ids: np.ndarray, vectors: np.ndarray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids ascending and once each, and their unit vectors."""
    vectors = _matrix(vectors, dimension)
    ids = np.asarray(ids, np.int64)
    if ids.shape != vectors.shape[:1]:
        raise ValueError(f"{len(ids)} ids for {len(vectors)} vectors")
    if len(ids) and ids.min() < 0:
        raise ValueError(f"id {ids.min()}: ids are 0 or more, FAISS says 'nothing' by -1")
    ids, last = np.unique(ids[::-1], return_index=True)
    return ids, unit(vectors[::-1][last])


def _matrix(vectors: np.ndarray, dimension: int) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ValueError(f"vectors must be [n, {dimension}], not {list(vectors.shape)}")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector is not finite: it has no neighbours")
    return vectors


def _nothing(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((rows, 0), np.int64), np.empty((rows, 0), np.float32)
