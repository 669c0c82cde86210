"""Many worlds at once, one batched policy call a tick -> episodes. The only place that knows how worlds are run."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from envs.component import UserError
from envs.flight import Flight, ticket_rng
from envs.multimodal import World
from envs.pool import WorldPool
from envs.preface import Preface, Prefaced
from envs.stage import Order, Start
from envs.types import Choices, Episode, Observation, Reply, Ticket

__all__ = ["Actor", "WorldPool", "check_repeatable", "collect", "same_observation", "ticket_rng"]

SPLIT_FROM = 4
"""Fewer worlds in flight are not worth two calls of the actor."""


class Actor(Protocol):
    """Who acts. `version` names the adapter; every draw of row i comes from `rngs[i]`."""

    @property
    def version(self) -> str:
        """Names the weights that act."""
        ...

    def act(
        self,
        observations: Sequence[Observation],
        choices: Sequence[Choices],
        rngs: Sequence[np.random.Generator],
    ) -> list[Reply]:
        """One reply for each observation, in order."""
        ...


def collect(
    actor: Actor,
    tickets: Sequence[Ticket],
    pool: WorldPool,
    width: int = 64,
    on_tick: Callable[[int, int], None] | None = None,
    preface: Preface | None = None,
) -> list[Episode]:
    """Play every ticket.

    Every draw of an episode comes from a generator seeded by its ticket's id alone, so it does not depend on `width` or
    on its neighbours. A world that raises ends its own episode (`StopReason.ENV_ERROR`) and no other.

    Args:
        width: worlds in flight at once; each tick is one `act` over all of them.
        on_tick: told the decisions taken and the episodes done, after every tick.
        preface: asked before every `act` what is to stand in front of what the worlds show.

    Returns:
        Episodes in the order of `tickets`.

    Raises:
        UserError: a ticket's task is unknown or its world can't be made.
    """
    if width < 1:
        raise UserError(f"width is {width}: at least one world must be in flight. Set it to 1 or more.")
    play = _Play(actor, pool, tickets, preface)
    try:
        return play.to_the_end(_rooms(width), on_tick)
    except BaseException:
        pool.stage.abandon()
        raise


def _rooms(width: int) -> list[int]:
    """How many worlds each half holds; few worlds stay together."""
    return [width - width // 2, width // 2] if width >= SPLIT_FROM else [width]


class _Play:
    """The tickets on their way to episodes.

    Half the worlds are thought for while the other half's are played. Which worlds are thought for together depends on
    the width alone, never on how fast a world is or where it is played: so the model's numbers are the same, to the
    last bit, in this process and in any number of workers.
    """

    def __init__(self, actor: Actor, pool: WorldPool, tickets: Sequence[Ticket], preface: Preface | None) -> None:
        self.actor, self.pool, self.stage, self.preface = actor, pool, pool.stage, preface
        self.waiting = deque(enumerate(tickets))
        self.episodes: list[Episode | None] = [None] * len(tickets)
        self.done = 0
        self.decisions = 0

    def to_the_end(self, rooms: Sequence[int], on_tick: Callable[[int, int], None] | None) -> list[Episode]:
        """Play every ticket, each half in its turn."""
        halves: list[list[Flight]] = [[] for _ in rooms]
        while self.waiting or any(halves):
            for number, room in enumerate(rooms):
                told = self.decisions, self.done
                flights = self._hear(number, halves[number])
                if on_tick is not None and told != (self.decisions, self.done):
                    on_tick(self.decisions, self.done)
                orders = self._think(flights)
                while self.waiting and len(flights) < room:
                    place, ticket = self.waiting.popleft()
                    rule = self.pool.settings(ticket.task).success
                    flights.append(Flight(place, ticket, rule, self.actor.version))
                    orders.append(Start(place, ticket.task, ticket.seed))
                self.stage.ask(number, orders)
                halves[number] = flights
        return [episode for episode in self.episodes if episode is not None]

    def _hear(self, number: int, flights: list[Flight]) -> list[Flight]:
        """Take the worlds' answers; returns the flights that go on."""
        for flight, answer in zip(flights, self.stage.hear(number), strict=True):
            self.decisions += flight.said is not None
            flight.take(answer)
            if flight.stop is not None:
                self.episodes[flight.place] = flight.land()
                self.done += 1
        return [flight for flight in flights if flight.stop is None]

    def _think(self, flights: Sequence[Flight]) -> list[Order]:
        if not flights:
            return []
        asked = [f.ask() for f in flights]
        seen = self.preface(asked) if self.preface is not None else [Prefaced(one.observation) for one in asked]
        replies = self.actor.act(
            [one.observation for one in seen], [f.choices for f in flights], [f.rng for f in flights]
        )
        return [flight.say(one, reply) for flight, one, reply in zip(flights, seen, replies, strict=True)]


def check_repeatable(pool: WorldPool, task: str, seeds: Sequence[int]) -> None:
    """Make sure that a seed repeats a start: groups and exams rest on it.

    Each seed is reset in two instances, in opposite orders, with a step taken in between in one of them.

    Raises:
        UserError: two starts of one seed differ.
    """
    first, second = pool.take(task), pool.take(task)
    starts = {seed: _start(first, seed) for seed in seeds}
    for seed in reversed(list(seeds)):
        if not same_observation(starts[seed], _start(second, seed)):
            raise UserError(
                f"world {pool.settings(task).id!r} ({task}) shows two different things after reset(seed={seed}): "
                "answers from one start could not be compared. Draw everything in reset() from self.np_random, after "
                "super().reset(seed=seed)."
            )
        second.step((second.choices() or ("",))[0])
    pool.give_back(task, first)
    pool.give_back(task, second)


def same_observation(a: Observation, b: Observation) -> bool:
    """Whether text and pictures are the very same."""
    return a is b or (
        a.text == b.text
        and len(a.images) == len(b.images)
        and all(x is y or np.array_equal(x, y) for x, y in zip(a.images, b.images, strict=True))
    )


def _start(world: World, seed: int) -> Observation:
    seen, _ = world.reset(seed=seed)
    return world.observe(seen)
