"""Texts that are a number of degrees, as vectors: novelty can then be worked out by hand."""

import numpy as np

from envs.types import Observation
from tests.memory.making import episode, step


class Angles:
    """A text that is a number of degrees, as a vector of two numbers; its length says nothing."""

    version, dimension = "angles", 2

    def embed(self, observations):
        radians = np.radians([float(o.text) for o in observations])
        return np.stack([3 * np.cos(radians), 3 * np.sin(radians)], axis=1).astype(np.float32)


def of(name, *degrees, **changes):
    steps = tuple(step(Observation(str(d))) for d in degrees)
    return episode(name, np.random.default_rng(0), **{"steps": steps, "success": True, **changes})


def novelty(memory, *degrees, **more):
    out = memory.novelty([Observation(str(d)) for d in degrees], **more)
    assert out.dtype == np.float32
    return out
