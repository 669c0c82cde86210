"""Every random number of a run derives from its seed and from where it is used: there is no state to store."""

import hashlib

import numpy as np

from schedules.exam import FIRST_EXAM_SEED


def digest(*parts: object) -> int:
    """128 bits that depend on all of `parts`."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def generator(*parts: object) -> np.random.Generator:
    """A generator for one use, for example `generator(seed, cycle, "update")`."""
    return np.random.default_rng(digest(*parts))


def training_seed(*parts: object) -> int:
    """A world seed that no exam uses."""
    return digest(*parts) % FIRST_EXAM_SEED
