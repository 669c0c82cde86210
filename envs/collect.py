"""Many worlds at once, one batched policy call a tick -> episodes. The only place that knows how worlds are run."""

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from envs.component import UserError
from envs.multimodal import World, WorldSettings, make_world
from envs.types import Action, Episode, Observation, Reply, Step, StopReason, Ticket

IN_ACTION = ("command", "readable", "cost")


class Actor(Protocol):
    """Who acts. `version` names the adapter; every draw of row i comes from `rngs[i]`."""

    @property
    def version(self) -> str:
        """Names the weights that act."""
        ...

    def act(
        self,
        observations: Sequence[Observation],
        choices: Sequence[tuple[str, ...] | None],
        rngs: Sequence[np.random.Generator],
    ) -> list[Reply]:
        """One reply for each observation, in order."""
        ...


class WorldPool:
    """World instances, made when first needed and used again; an instance is in one hand at a time."""

    def __init__(self, worlds: Mapping[str, WorldSettings]) -> None:
        self._settings = dict(worlds)
        self._free: dict[str, list[World]] = {task: [] for task in worlds}

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks there are worlds for."""
        return tuple(self._settings)

    def settings(self, task: str) -> WorldSettings:
        """The settings of a task's world.

        Raises:
            UserError: no such task.
        """
        if task not in self._settings:
            raise UserError(f"no task {task!r}. There are: {', '.join(self._settings)}.")
        return self._settings[task]

    def take(self, task: str) -> World:
        """An instance for sole use, until `give_back` or `discard`."""
        settings = self.settings(task)
        free = self._free[task]
        return free.pop() if free else make_world(settings)

    def give_back(self, task: str, world: World) -> None:
        """Keep a sound instance for the next episode."""
        self._free[task].append(world)

    def discard(self, world: World) -> None:
        """Close an instance that raised: nothing is known about its state."""
        with contextlib.suppress(Exception):
            world.close()

    def close(self) -> None:
        """Close every instance that is not in use."""
        for free in self._free.values():
            while free:
                self.discard(free.pop())


def collect(
    actor: Actor,
    tickets: Sequence[Ticket],
    pool: WorldPool,
    width: int = 64,
    on_tick: Callable[[int, int], None] | None = None,
) -> list[Episode]:
    """Play every ticket.

    Every draw of an episode comes from a generator seeded by its ticket's id alone, so it does not depend on `width` or
    on its neighbours. A world that raises ends its own episode (`StopReason.ENV_ERROR`) and no other.

    Args:
        width: worlds in flight at once; each tick is one `act` over all of them.
        on_tick: told the decisions taken and the episodes done, after every tick.

    Returns:
        Episodes in the order of `tickets`.

    Raises:
        UserError: a ticket's task is unknown or its world can't be made.
    """
    if width < 1:
        raise UserError(f"width is {width}: at least one world must be in flight. Set it to 1 or more.")
    waiting = deque(enumerate(tickets))
    flights: list[tuple[int, _Flight]] = []
    done: dict[int, Episode] = {}
    decisions = 0
    while waiting or flights:
        while waiting and len(flights) < width:
            place, ticket = waiting.popleft()
            flight = _Flight(ticket, pool, actor.version)
            if flight.start():
                flights.append((place, flight))
            else:
                done[place] = flight.land()
        replies = actor.act(*_rows([flight for _, flight in flights])) if flights else []
        aloft = []
        for (place, flight), reply in zip(flights, replies, strict=True):
            if flight.advance(reply):
                aloft.append((place, flight))
            else:
                done[place] = flight.land()
        decisions += len(flights)
        flights = aloft
        if on_tick is not None:
            on_tick(decisions, len(done))
    return [done[place] for place in range(len(tickets))]


def ticket_rng(ticket_id: str) -> np.random.Generator:
    """The generator of one episode's draws: of its id alone, on any machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(ticket_id.encode()).digest()[:16], "big"))


class _Flight:
    """One episode being played."""

    __slots__ = (
        "choices",
        "info",
        "observation",
        "pool",
        "rng",
        "steps",
        "stop",
        "success",
        "ticket",
        "version",
        "world",
    )

    def __init__(self, ticket: Ticket, pool: WorldPool, version: str) -> None:
        self.ticket, self.pool, self.version = ticket, pool, version
        self.world = pool.take(ticket.task)
        self.rng = ticket_rng(ticket.id)
        self.steps: list[Step] = []
        self.observation = Observation("")
        self.choices: tuple[str, ...] | None = None
        self.info: Mapping[str, Any] | None = None  # the last one of a step that reached the env
        self.stop: StopReason | None = None
        self.success = False

    def start(self) -> bool:
        """Reset the world; whether the episode can be played."""
        try:
            seen, _ = self.world.reset(seed=self.ticket.seed)
            self._look(seen)
        except Exception as error:
            self._fail(error)
        return self.stop is None

    def advance(self, reply: Reply) -> bool:
        """Say `reply` to the world; whether the episode goes on."""
        before, choices = self.observation, self.choices
        try:
            seen, reward, terminated, truncated, info = self.world.step(reply.text)
            self._look(seen)
            action = _action(reply, info["command"], info["readable"])
            kept = {key: value for key, value in info.items() if key not in IN_ACTION}
            step = Step(before, choices, action, reward, info["cost"], terminated, truncated, kept)
            self.steps.append(step)
        except Exception as error:
            failed = _action(reply, None, False)
            told = {"error": _told(error)}
            self.steps.append(Step(before, choices, failed, 0.0, 0.0, False, False, told))
            self._fail(error)
            return False
        if info["command"] is not None:
            self.info = info
        if terminated or truncated:
            self._end(terminated)
        return self.stop is None

    def land(self) -> Episode:
        """The finished episode; the world goes back to the pool, or is thrown away if it raised."""
        assert self.stop is not None
        ticket = self.ticket
        if self.stop is StopReason.ENV_ERROR:
            self.pool.discard(self.world)
        else:
            self.pool.give_back(ticket.task, self.world)
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

    def _look(self, seen: Mapping[str, Any]) -> None:
        self.observation = self.world.observe(seen)
        self.choices = self.world.choices()

    def _end(self, terminated: bool) -> None:
        rule = self.world.settings.success
        try:
            self.success = rule.holds([step.reward for step in self.steps], self.info)
            self.stop = StopReason.TERMINATED if terminated else StopReason.TRUNCATED
        except KeyError:
            self._fail(KeyError(f"info has no {rule.info!r} at the end of the episode"))

    def _fail(self, error: Exception) -> None:
        """What the world raised stands where its last observation would."""
        self.stop = StopReason.ENV_ERROR
        self.observation = Observation(_told(error))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _action(reply: Reply, command: Any, readable: bool) -> Action:
    return Action(reply.text, reply.tokens, reply.logprobs, reply.mode, command, readable)


def _rows(
    flights: Sequence[_Flight],
) -> tuple[list[Observation], list[tuple[str, ...] | None], list[np.random.Generator]]:
    return [f.observation for f in flights], [f.choices for f in flights], [f.rng for f in flights]


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
