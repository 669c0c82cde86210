"""What went well in situations like this one, shown in front of the question: in-context examples from memory.

Each step has its own, the most like what the world shows now: what an example tells is one answer to one sight, and
would say nothing about the next one. The likest stands last, beside the question (as in KATE, arXiv 2101.06804).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from envs.component import UserError
from envs.preface import Asked, Prefaced, own
from envs.types import IMAGE_MARK, Observation
from memory.images import content_key
from memory.store import ReplayMemory
from memory.successes import Place, Query

EXAMPLE = "Example:\n{asked}\nAnswer: {said}\n\n"
QUESTION = "Now:\n"
USE = "example"


class Door(Protocol):
    """What lets a prompt in: the policy's `Prompter`."""

    def prompt(self, observation: Observation) -> Any:
        """Raises `UserError` for what can't be asked."""
        ...

    def harmless(self, text: str) -> bool:
        """Whether a text holds no control token."""
        ...


class Examples:
    """Implements `envs.preface.Preface` for one cycle.

    What is shown depends on the regime, the seed and what the world shows, and on memory as it was when the cycle
    began: on nothing else. So members of a group are asked the same, and champion and candidate sit the same exam.
    """

    def __init__(self, memory: ReplayMemory, door: Door, count: int, cycle: int) -> None:
        """Show `count` examples, or as many as there are, from episodes of cycles before `cycle`."""
        self._memory, self._door, self._count, self._cycle = memory, door, count, cycle
        self._successes = memory.successes(cycle, self._usable)
        self._chosen: dict[tuple[Any, ...], list[Place]] = {}
        self._told: dict[Place, Observation] = {}

    def __call__(self, asked: Sequence[Asked]) -> list[Prefaced]:
        """See `envs.preface.Preface`.

        Raises:
            UserError: a prompt got too long, or holds what no prompt may.
        """
        keys = [_key(one) for one in asked]
        new = {key: one for key, one in zip(keys, asked, strict=True) if key not in self._chosen}
        queries = [Query(one.ticket.task, one.ticket.seed, one.observation) for one in new.values()]
        found = self._successes.nearest(queries, self._count)
        self._chosen |= {key: best[::-1] for key, best in zip(new, found, strict=True)}
        for query, best in zip(queries, found, strict=True):
            why = f"like what {query.task} showed"
            self._memory.draws.note(self._cycle, USE, [(place.episode, why) for place in best])
        self._read({place for best in found for place in best} - self._told.keys())
        return [self._prefaced(one, self._chosen[key]) for key, one in zip(keys, asked, strict=True)]

    def _usable(self, said: str) -> bool:
        """What was said is the model's own text: a stray mark in it must neither count as a picture nor stop a run."""
        return IMAGE_MARK not in said and self._door.harmless(said)

    def _read(self, places: set[Place]) -> None:
        names = sorted({place.episode for place in places})
        episodes = dict(zip(names, self._memory.get(names), strict=True))
        for place in places:
            step = episodes[place.episode].steps[place.step]
            shown = own(step)
            self._told[place] = Observation(EXAMPLE.format(asked=shown.text, said=step.action.text), shown.images)

    def _prefaced(self, one: Asked, places: Sequence[Place]) -> Prefaced:
        if not places:
            return Prefaced(one.observation)
        told = [self._told[place] for place in places]
        text = "".join([*(example.text for example in told), QUESTION, one.observation.text])
        images = [image for example in told for image in example.images]
        observation = Observation(text, (*images, *one.observation.images))
        try:
            self._door.prompt(observation)
        except UserError as error:
            raise UserError(
                f"memory.examples is {self._count}, and with them step {one.step} of episode {one.ticket.id} can't be "
                f"asked: {error} Or show fewer examples: set memory.examples lower, or to 0."
            ) from error
        return Prefaced(observation, tuple(dict.fromkeys(place.episode for place in places)))


def _key(one: Asked) -> tuple[Any, ...]:
    seen = one.observation
    return one.ticket.task, one.ticket.seed, seen.text, *map(content_key, seen.images)
