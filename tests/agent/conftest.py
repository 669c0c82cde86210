"""What the tests of updates begin with; a module that wants another policy or other worlds defines its own."""

from pathlib import Path

import pytest

from agent.policy import Policy
from envs.collect import WorldPool
from tests.agent.learning import WORLD, learner_in


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    """A random model whose candidate speaks."""
    policy = learner_in(tiny_folder)
    policy.fork()
    return policy


@pytest.fixture(scope="session")
def pool() -> WorldPool:
    """The identity world."""
    return WorldPool({"copycat": WORLD})
