"""FAISS against plain NumPy, after everything that has gone wrong with FAISS before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.index import ExactIndex, FaissIndex, unit

DIMENSION = 6
BOTH = pytest.mark.parametrize("kind", [FaissIndex, ExactIndex])
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "reload"]), st.integers(0, 2**32 - 1)), min_size=1, max_size=12
)


def vectors(rng, count):
    """Few distinct values, so that ties and duplicates are common; rows of zeros among them."""
    return rng.integers(-1, 2, (count, DIMENSION)).astype(np.float32)


def assert_same_neighbours(found, expected):
    """Same similarities in order; the ids that are not tied with the last place are the same sets."""
    (ids, near), (true_ids, true_near) = found, expected
    np.testing.assert_allclose(near, true_near, atol=1e-5)
    for row, true_row, value in zip(ids, true_ids, true_near, strict=True):
        assert len(set(row.tolist())) == len(row)
        if len(row):
            sure = value > value[-1] + 1e-4
            assert set(row[sure].tolist()) == set(true_row[sure].tolist())


@settings(max_examples=150, deadline=None)
@given(operations=OPERATIONS)
def test_faiss_agrees_with_numpy(operations):
    faiss, exact = FaissIndex(DIMENSION), ExactIndex(DIMENSION)
    for name, seed in operations:
        rng = np.random.default_rng(seed)
        if name == "add":
            ids = rng.integers(0, 30, rng.integers(0, 12))  # repeats within, and what is there already
            new = vectors(rng, len(ids))
            faiss.add(ids, new)
            exact.add(ids, new)
        elif name == "remove":
            gone = rng.integers(0, 40, rng.integers(0, 25))
            faiss.remove(gone)
            exact.remove(gone)
        else:
            faiss, exact = FaissIndex.load(faiss.dump()), ExactIndex.load(exact.dump())
        assert len(faiss) == len(exact)
        for k in (1, 4, 100):
            queries = vectors(rng, 3)
            assert_same_neighbours(faiss.search(queries, k), exact.search(queries, k))


@BOTH
def test_nearest_by_hand(kind):
    """Cosines to (1, 0): of (2, 0) 1, of (3, 4) 0.6, of (0, 1) 0, of (-5, 0) -1; lengths do not matter."""
    index = kind(2)
    index.add(np.array([10, 11, 12, 13]), np.array([[-5, 0], [0, 1], [3, 4], [2, 0]], np.float32))
    ids, near = index.search(np.array([[1, 0]], np.float32), 9)
    assert ids.tolist() == [[13, 12, 11, 10]]
    np.testing.assert_allclose(near, [[1, 0.6, 0, -1]], atol=1e-6)


@BOTH
def test_equals_come_lower_id_first(kind):
    index = kind(2)
    index.add(np.array([7, 3, 5]), np.ones((3, 2), np.float32))
    assert index.search(np.ones((1, 2), np.float32), 3)[0].tolist() == [[3, 5, 7]]


@BOTH
def test_everything_removed_leaves_nothing_to_find(kind):
    index = kind(2)
    index.add(np.arange(5), np.ones((5, 2), np.float32))
    index.remove(np.arange(5))
    ids, near = index.search(np.ones((2, 2), np.float32), 3)
    assert ids.shape == near.shape == (2, 0)
    index.add(np.array([1]), np.array([[0, 1]], np.float32))
    assert index.search(np.ones((1, 2), np.float32), 3)[0].tolist() == [[1]]


@BOTH
def test_nonsense_is_refused(kind):
    index = kind(2)
    for wrong in ([[np.nan, 0]], [[np.inf, 0]]):
        with pytest.raises(ValueError, match="not finite"):
            index.add(np.array([1]), np.array(wrong, np.float32))
        with pytest.raises(ValueError, match="not finite"):
            index.search(np.array(wrong, np.float32), 1)
    with pytest.raises(ValueError, match=r"must be \[n, 2\], not \[1, 3\]"):
        index.add(np.array([1]), np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="2 ids for 1 vectors"):
        index.add(np.array([1, 2]), np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="id -1"):
        index.add(np.array([-1]), np.ones((1, 2), np.float32))
    assert len(index) == 0


def test_unit():
    np.testing.assert_array_equal(
        unit(np.array([[3, 4], [0, 0]], np.float32)), np.array([[0.6, 0.8], [0, 0]], np.float32)
    )
    assert np.linalg.norm(unit(np.array([[3e38, 3e38]], np.float32))) == pytest.approx(1)
