"""The embedder that needs no model: repeatable, finite, and near for what is alike."""

import numpy as np
import pytest

from envs.types import Observation
from memory.embedding import HashEmbedder
from memory.unit_vectors import unit
from tests.memory.making import picture

RNG = np.random.default_rng(0)


def cosine(a, b):
    return float((unit(a[None]) @ unit(b[None]).T)[0, 0])


def test_neighbours_of_observations_do_not_matter():
    seen = [Observation(f"<image>word{i} and", (RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8),)) for i in range(5)]
    embedder = HashEmbedder(64)
    together = embedder.embed(seen)
    assert together.shape == (5, 64)
    assert together.dtype == np.float32
    for row, observation in zip(together, seen, strict=True):
        np.testing.assert_array_equal(row, HashEmbedder(64).embed([observation])[0])


def test_alike_is_nearer_than_unlike():
    image = picture(RNG, 64)
    dark = np.zeros_like(image)
    dark[:32] = 60
    noisy = image.copy()
    noisy[:4, :4] = 0
    same, near, far = HashEmbedder().embed(
        [Observation("<image>go to the red ball", (i,)) for i in (image, noisy, dark)]
    )
    assert cosine(same, near) > 0.95 > cosine(same, far)
    a, b, c = HashEmbedder().embed([Observation(t) for t in ("open the red door", "open the blue door", "2 + 3")])
    assert cosine(a, b) > 0.4 > 0.1 > cosine(a, c)  # 0.75 but for words that share a place


@pytest.mark.parametrize("shape", [(0, 3, 3), (1, 1, 3), (5, 64, 3), (64, 64, 1), (3, 3, 4)])
def test_any_shape_is_finite(shape):
    out = HashEmbedder(32).embed([Observation("<image>", (np.full(shape, 9, np.uint8),)), Observation("")])
    assert out.shape == (2, 32)
    assert np.isfinite(out).all()


def test_mean_colour_by_hand():
    """dimension 24 makes a grid of 2 x 2: the left half is 255, the right 0, so 127.5 and -127.5 before scaling."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, :2] = 255
    out = HashEmbedder(24).embed([Observation("", (image,))])[0, :12]
    np.testing.assert_allclose(out, np.tile([1, -1, 1, -1], 3) / np.sqrt(12), rtol=1e-6)


def test_version_tells_dimensions_apart():
    assert HashEmbedder(32).version != HashEmbedder(64).version
    with pytest.raises(ValueError, match="8 or more"):
        HashEmbedder(4)
