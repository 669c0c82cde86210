"""Vectors in lists, each around a centre; a search looks at the lists whose centres are nearest.

Centres that fit one world do not fit the next: told to take vectors of another world, they lose a quarter of the
nearest (docs/memory/index.md). So whatever comes brings centres of its own, and only a build makes all of them anew.
"""

from typing import Any, BinaryIO

import faiss
import numpy as np

_io: Any = faiss  # its typing stubs leave out the callbacks
_PIECE = 1 << 20  # bytes written or read at once
_SAMPLE = 64  # vectors for each centre, from which it is found
_GROWTH = 1.125  # lists there is room for, of those at the build
_ROOM = 30  # vectors looked at for each that is asked for, at the least


class Lists:
    """Unit vectors as float16, which keeps cosines to 1e-4 whatever comes. Exact where all lists are looked at."""

    def __init__(self, index: Any) -> None:
        self._index = index  # with room for more lists than have a centre by now

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def around(cls, sample: np.ndarray, count: int) -> "Lists":
        """Empty lists for about `count` vectors, of which float32 `[n, d]` is a sample."""
        lists = min(list_count(count), len(sample))
        dimension = sample.shape[1]
        index: Any = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dimension),
            dimension,
            int(np.ceil(_GROWTH * lists)),
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
            False,  # vectors, not their way from the centre
        )
        index.quantizer.add(_centres(sample, lists))
        index.is_trained = True
        return cls(index)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Put vectors into the lists there are: right for those that the centres were made for."""
        self._index.add_with_ids(vectors, ids)

    def have_room(self, vectors: int) -> bool:
        """Whether so many more can be taken with centres of their own."""
        return self._used + self._lists_for(vectors) <= self._index.nlist

    def take(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Put vectors of whatever world into lists, with centres of their own beside the others; ask for room first.

        What is in the lists stays where it is.
        """
        self._index.quantizer.add(_centres(vectors, self._lists_for(len(ids))))
        self.add(ids, vectors)

    def remove(self, ids: np.ndarray) -> None:
        """A pass over all ids."""
        self._index.remove_ids(ids)

    def search(self, queries: np.ndarray, k: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and ids `[n, k]`, `k` at most `len(self)`; `probes` of the lists at the build are looked at.

        Where they hold fewer than `k`, all are.
        """
        share = max(probes / self._at_build, _ROOM * k / len(self))
        self._index.nprobe = min(self._used, int(np.ceil(share * self._used)))
        similarities, ids = self._index.search(queries, k)
        few = np.flatnonzero(ids[:, -1] < 0)
        if len(few):
            self._index.nprobe = self._used
            similarities[few], ids[few] = self._index.search(queries[few], k)
        return similarities, ids

    def write(self, file: BinaryIO) -> None:
        """Append to an open file."""
        write(self._index, file)

    @classmethod
    def read(cls, file: BinaryIO) -> "Lists":
        """The inverse of `write`; raises RuntimeError as FAISS does."""
        return cls(read(file))

    def _lists_for(self, vectors: int) -> int:
        return max(1, round(4 * vectors / self._at_build))  # n lists suit n * n / 4 vectors: n / 4 in each

    @property
    def _used(self) -> int:
        return int(self._index.quantizer.ntotal)

    @property
    def _at_build(self) -> int:
        return int(self._index.nlist / _GROWTH)


def list_count(vectors: int) -> int:
    """How many lists suit so many vectors."""
    return max(1, round(2 * vectors**0.5))


def sampled(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Some rows of `vectors`, as many as their part of `count` is to give to the sample that centres come from."""
    return vectors[rng.random(len(vectors)) < _SAMPLE * list_count(count) / count]


def write(index: Any, file: BinaryIO) -> None:
    """Append an index of FAISS to an open file, piece by piece."""
    faiss.write_index(index, _io.PyCallbackIOWriter(file.write, _PIECE))


def read(file: BinaryIO) -> Any:
    """The inverse of `write`; leaves the file where the index ends."""
    return faiss.read_index(_io.PyCallbackIOReader(file.read, _PIECE))


def _centres(vectors: np.ndarray, count: int) -> np.ndarray:
    """Of length 1, so that the nearest by inner product is the nearest by cosine; the same vectors give the same."""
    means = faiss.Kmeans(
        vectors.shape[1],
        min(count, len(vectors)),
        niter=10,
        seed=0,
        spherical=True,
        min_points_per_centroid=1,  # fewer are no reason to print a warning
        max_points_per_centroid=_SAMPLE,
    )
    means.train(vectors)
    return np.asarray(means.centroids)
