"""Many worlds at once, one batched policy call a tick -> episodes. The only place that knows how worlds are run."""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from envs.component import UserError
from envs.multimodal import World
from envs.pool import WorldPool
from envs.preface import FRONT, Asked, Preface, Prefaced, front
from envs.settings import Success
from envs.stage import Answer, Order, Raised, Say, Shown, Start
from envs.types import Action, Choices, Episode, Observation, Reply, Step, StopReason, Ticket

__all__ = ["Actor", "WorldPool", "check_repeatable", "collect", "same_observation", "ticket_rng"]

SPLIT_FROM = 4
"""Fewer worlds in flight are not worth two calls of the actor."""
IN_ACTION = ("command", "readable", "cost")
NOT_KEPT = (*IN_ACTION, FRONT)
"""Of a world's info: what stands elsewhere in a step, and what is not the world's to say."""


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


def ticket_rng(ticket_id: str) -> np.random.Generator:
    """The generator of one episode's draws: of its id alone, on any machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(ticket_id.encode()).digest()[:16], "big"))


class _Flight:
    """One episode being played. `place` is that of its ticket, and its seat."""

    __slots__ = (
        "choices",
        "info",
        "observation",
        "place",
        "rng",
        "rule",
        "said",
        "seen",
        "steps",
        "stop",
        "success",
        "ticket",
        "version",
    )

    def __init__(self, place: int, ticket: Ticket, rule: Success, version: str) -> None:
        self.place, self.ticket, self.rule, self.version = place, ticket, rule, version
        self.rng = ticket_rng(ticket.id)
        self.steps: list[Step] = []
        self.said: Reply | None = None  # what the world has to answer
        self.observation = Observation("")  # what the world shows
        self.seen = Prefaced(self.observation)  # and what the actor saw of it
        self.choices: Choices = None
        self.info: Mapping[str, Any] | None = None  # the last one of a step that reached the env
        self.stop: StopReason | None = None
        self.success = False

    def ask(self) -> Asked:
        """What the world asks now."""
        return Asked(self.ticket, len(self.steps), self.observation)

    def say(self, seen: Prefaced, reply: Reply) -> Order:
        """What tells the world a reply to what was seen."""
        self.seen, self.said = seen, reply
        return Say(self.place, reply.text)

    def take(self, answer: Answer) -> None:
        """What the world made of it."""
        if isinstance(answer, Raised):
            if self.said is not None:
                self._keep(_action(self.said, None, False), Shown(self.observation, None), 0.0, {"error": answer.told})
            self._fail(answer.told)
            return
        if self.said is not None:
            info = answer.info
            kept = {key: value for key, value in info.items() if key not in NOT_KEPT}
            self._keep(_action(self.said, info["command"], info["readable"]), answer, info["cost"], kept)
            if info["command"] is not None:
                self.info = info
        self.observation, self.choices, self.said = answer.observation, answer.choices, None
        if answer.over:
            self._end(answer.terminated)

    def land(self) -> Episode:
        """The finished episode."""
        assert self.stop is not None
        ticket = self.ticket
        return Episode(
            id=ticket.id,
            task=ticket.task,
            seed=ticket.seed,
            group=ticket.group,
            member=ticket.member,
            cycle=ticket.cycle,
            policy_version=self.version,
            steps=tuple(self.steps),
            final=self.observation,
            stop=self.stop,
            success=self.success,
        )

    def _keep(self, action: Action, told: Shown, cost: float, info: Mapping[str, Any]) -> None:
        ended = told.terminated, told.truncated
        info = {**info, **front(self.seen, self.observation)}
        self.steps.append(Step(self.seen.observation, self.choices, action, told.reward, cost, *ended, info))

    def _end(self, terminated: bool) -> None:
        try:
            self.success = self.rule.holds([step.reward for step in self.steps], self.info)
            self.stop = StopReason.TERMINATED if terminated else StopReason.TRUNCATED
        except KeyError:
            self._fail(f'KeyError: "info has no {self.rule.info!r} at the end of the episode"')

    def _fail(self, told: str) -> None:
        """What the world raised stands where its last observation would."""
        self.stop = StopReason.ENV_ERROR
        self.observation = Observation(told)


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
        halves: list[list[_Flight]] = [[] for _ in rooms]
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
                    flights.append(_Flight(place, ticket, rule, self.actor.version))
                    orders.append(Start(place, ticket.task, ticket.seed))
                self.stage.ask(number, orders)
                halves[number] = flights
        return [episode for episode in self.episodes if episode is not None]

    def _hear(self, number: int, flights: list[_Flight]) -> list[_Flight]:
        """Take the worlds' answers; returns the flights that go on."""
        for flight, answer in zip(flights, self.stage.hear(number), strict=True):
            self.decisions += flight.said is not None
            flight.take(answer)
            if flight.stop is not None:
                self.episodes[flight.place] = flight.land()
                self.done += 1
        return [flight for flight in flights if flight.stop is None]

    def _think(self, flights: Sequence[_Flight]) -> list[Order]:
        if not flights:
            return []
        asked = [f.ask() for f in flights]
        seen = self.preface(asked) if self.preface is not None else [Prefaced(one.observation) for one in asked]
        replies = self.actor.act(
            [one.observation for one in seen], [f.choices for f in flights], [f.rng for f in flights]
        )
        return [flight.say(one, reply) for flight, one, reply in zip(flights, seen, replies, strict=True)]


def _action(reply: Reply, command: Any, readable: bool) -> Action:
    return Action(reply.text, reply.tokens, reply.logprobs, reply.mode, command, readable)


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
