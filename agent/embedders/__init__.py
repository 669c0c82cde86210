"""What turns observations into vectors: one embedder a file.

A module defines `Config` (settings and `build()`); what it builds is a `memory.embedding.Embedder`, or is bound to the
run's policy and then gives one. A dotted path names a user's own module, which may lie beside the stream.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from agent.policy import Policy
from envs.component import UserError, load
from memory.embedding import Embedder


@runtime_checkable
class FromPolicy(Protocol):
    """What asks a policy: it is an embedder once it has one."""

    def bind(self, policy: Policy) -> Embedder:
        """The embedder that asks `policy`, whatever adapter speaks meanwhile."""
        ...


def build_embedder(settings: Mapping[str, Any], policy: Callable[[], Policy]) -> Embedder:
    """The embedder that `settings` name by `type`; `policy` is called only if it asks one.

    Raises:
        UserError: there is no such embedder, or its version or dimension can't be one.
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    built = load("agent.embedders", settings, "embedder").build()
    embedder: Embedder = built.bind(policy()) if isinstance(built, FromPolicy) else built
    version, dimension = embedder.version, embedder.dimension
    if not isinstance(version, str) or not version or not isinstance(dimension, int) or dimension < 1:
        raise UserError(
            f"memory.embedder is {settings['type']!r}, whose version is {version!r} and dimension {dimension!r}: give "
            "it a text that changes whenever its vectors do, and a whole number of 1 or more."
        )
    return embedder
