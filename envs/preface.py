"""What may be put in front of what a world shows, and how the two are told apart again.

A step records what the actor saw, so that it can be asked the very same again; what the world itself showed stands at
its end, and the step's info says from where.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from envs.types import Observation, Step, Ticket

FRONT = "_front"
"""Key of a step's info: characters and pictures in front, and the episodes that they come from."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on its way to the actor: what the world shows at a step (the first is 0) of a ticket's episode."""

    ticket: Ticket
    step: int
    observation: Observation


@dataclass(frozen=True, slots=True)
class Prefaced:
    """The question as the actor sees it: something in front, the world's own text and pictures last.

    Attributes:
        episodes: ids of the episodes that what is in front comes from.
    """

    observation: Observation
    episodes: tuple[str, ...] = ()


Preface = Callable[[Sequence[Asked]], list[Prefaced]]
"""One for each question, in order; the very same observation where nothing is put in front."""


def front(prefaced: Prefaced, world: Observation) -> dict[str, Any]:
    """What a step's info says of it; nothing where nothing stands in front.

    Raises:
        ValueError: what the world showed is not at the end.
    """
    seen = prefaced.observation
    if seen is world:
        return {}
    text, pictures = len(seen.text) - len(world.text), len(seen.images) - len(world.images)
    same = pictures >= 0 and all(a is b for a, b in zip(seen.images[pictures:], world.images, strict=True))
    if not same or not seen.text.endswith(world.text):
        raise ValueError("a preface must leave the world's own text and pictures as they are, at the end")
    return {FRONT: {"text": text, "pictures": pictures, "episodes": list(prefaced.episodes)}}


def own(step: Step) -> Observation:
    """What the world itself showed at a step, without what was put in front."""
    told = step.info.get(FRONT)
    if told is None:
        return step.observation
    return Observation(step.observation.text[told["text"] :], step.observation.images[told["pictures"] :])
