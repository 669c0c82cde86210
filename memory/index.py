"""Nearest vectors by cosine: FAISS behind a small protocol, and plain NumPy as its oracle.

faiss is imported here and in `memory.index_lists`, and nowhere else. docs/memory/index.md tells of the designs that
were measured, and why this one was taken.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, ClassVar, Protocol, Self

import faiss
import numpy as np

from memory.index_lists import Lists, read, sampled, write
from memory.unit_vectors import unit

faiss.omp_set_num_threads(1)  # beside torch, two OpenMP pools fight each other

Stored = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Gives all ids and vectors, in parts; each call begins anew, with the same ones in the same order."""


class VectorIndex(Protocol):
    """Vectors by id. What is stored has length 1 (or 0), so similarities are cosines in -1..1."""

    dimension: int

    def __init__(self, dimension: int) -> None: ...

    def __len__(self) -> int: ...

    @classmethod
    def build(cls, dimension: int, count: int, stored: Stored) -> Self:
        """An index of about `count` vectors, in the shape that suits them; the same vectors make the same index."""
        ...

    @property
    def outgrown(self) -> bool:
        """Whether `build` would now make a better one. Until then this one finds the same, only slower."""
        ...

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Store float32 `[n, dimension]` under int64 `[n]`; an id that is there, or comes twice, takes its last vector.

        Raises:
            ValueError: shapes do not fit, or a vector is not finite.
        """
        ...

    def remove(self, ids: np.ndarray) -> None:
        """Forget these ids; unknown ones are ignored. Costs a pass over all ids: remove many at once."""
        ...

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest `min(k, len(self))` of each query, best first, the lower id first among equals.

        Returns:
            ids int64 `[n, k]` and similarities float32 `[n, k]`.

        Raises:
            ValueError: shapes do not fit, or a query is not finite.
        """
        ...

    def write(self, file: BinaryIO) -> None:
        """Append everything to an open file, for `read`.

        Raises:
            OSError: the file can't be written.
        """
        ...

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """The inverse of `write`. Give it only bytes whose checksum was right: FAISS does not notice damage.

        Raises:
            ValueError: this FAISS can't read them.
        """
        ...


class FaissIndex:
    """Search by FAISS: exact up to `EXACT` vectors; beyond, most are in lists, and the last that came are compared.

    Ids that only grow are appended without looking back.
    """

    EXACT: ClassVar[int] = 200_000
    """A search compares with so many one by one."""
    FRESH: ClassVar[int] = 10_000
    """And with so many that came since, before they go to the lists."""
    PROBES: ClassVar[int] = 64
    """Lists that a search looks at, of those at the build."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._flat = _flat(dimension)
        self._lists: Lists | None = None
        self._top = -1  # highest id ever stored

    def __len__(self) -> int:
        return int(self._flat.ntotal) + self._listed

    @classmethod
    def build(cls, dimension: int, count: int, stored: Stored) -> Self:
        """See `VectorIndex.build`; makes one pass, or two if there are to be lists."""
        out = cls(dimension)
        if count > cls.EXACT:
            rng = np.random.default_rng(0)
            sample = np.concatenate([sampled(vectors, count, rng) for _, vectors in stored()])
            out._lists = Lists.around(unit(sample), count)
        for ids, vectors in stored():
            out._put(out._lists, ids, vectors)
        return out

    @property
    def outgrown(self) -> bool:
        """See `VectorIndex.outgrown`."""
        if self._lists is None:
            return len(self) > self.EXACT
        return len(self) < self.EXACT // 2 or self._flat.ntotal > self.FRESH  # there was no room in the lists

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """See `VectorIndex.add`."""
        self._put(None, ids, vectors)
        fresh = int(self._flat.ntotal)
        if self._lists is not None and fresh > self.FRESH and self._lists.have_room(fresh):
            self._lists.take(faiss.vector_to_array(self._flat.id_map), self._flat.index.reconstruct_n(0, fresh))
            self._flat = _flat(self.dimension)

    def remove(self, ids: np.ndarray) -> None:
        """See `VectorIndex.remove`."""
        ids = np.ascontiguousarray(ids, np.int64)
        if not len(ids):
            return
        if self._flat.ntotal:
            self._flat.remove_ids(ids)
        if self._lists is not None:
            self._lists.remove(ids)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `VectorIndex.search`. By lists, a near one may be missed for another a little farther."""
        queries = unit(_matrix(queries, self.dimension))
        k = min(k, len(self))
        if k < 1 or not len(queries):
            return _nothing(len(queries))
        found = []
        if self._flat.ntotal:
            found.append(self._flat.search(queries, min(k, self._flat.ntotal)))
        if self._lists is not None and self._listed:
            found.append(self._lists.search(queries, min(k, self._listed), self.PROBES))
        similarities, ids = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        order = np.lexsort((ids, -similarities), axis=1)[:, :k]
        return np.take_along_axis(ids, order, 1), np.take_along_axis(similarities, order, 1)

    def write(self, file: BinaryIO) -> None:
        """See `VectorIndex.write`."""
        file.write(_HEAD.pack(self._top, self._lists is not None))
        write(self._flat, file)
        if self._lists is not None:
            self._lists.write(file)

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """See `VectorIndex.read`."""
        try:
            top, listed = _HEAD.unpack(file.read(_HEAD.size))
            flat = read(file)
            lists = Lists.read(file) if listed else None
        except (struct.error, RuntimeError) as error:
            raise ValueError(f"no index that this FAISS reads: {error}") from error
        out = cls(flat.d)
        out._flat, out._lists, out._top = flat, lists, top
        return out

    @property
    def _listed(self) -> int:
        return 0 if self._lists is None else len(self._lists)

    def _put(self, lists: Lists | None, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Into the lists, or among those that are compared."""
        ids, vectors = _checked(ids, vectors, self.dimension)
        if not len(ids):
            return
        if ids[0] <= self._top:
            self.remove(ids)  # FAISS would keep both
        if lists is None:
            self._flat.add_with_ids(vectors, ids)
        else:
            lists.add(ids, vectors)
        self._top = max(self._top, int(ids[-1]))


class ExactIndex:
    """The same in NumPy, slow and plain: what tests compare with."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._ids = np.empty(0, np.int64)
        self._vectors = np.empty((0, dimension), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    @classmethod
    def build(cls, dimension: int, count: int, stored: Stored) -> Self:
        """See `VectorIndex.build`."""
        out = cls(dimension)
        for ids, vectors in stored():
            out.add(ids, vectors)
        return out

    @property
    def outgrown(self) -> bool:
        """See `VectorIndex.outgrown`: never."""
        return False

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

    def write(self, file: BinaryIO) -> None:
        """See `VectorIndex.write`."""
        for part in (np.array([len(self), self.dimension], np.int64), self._ids, self._vectors):
            file.write(part.tobytes())

    @classmethod
    def read(cls, file: BinaryIO) -> Self:
        """See `VectorIndex.read`."""
        count, dimension = np.frombuffer(file.read(16), np.int64).tolist()
        out = cls(dimension)
        out._ids = np.frombuffer(file.read(8 * count), np.int64)
        out._vectors = np.frombuffer(file.read(4 * count * dimension), np.float32).reshape(count, dimension)
        return out


_HEAD = struct.Struct("<q?")


def _flat(dimension: int) -> Any:
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))


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
