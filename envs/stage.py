"""Where worlds are played: orders in, answers out. Here in this process; `envs.workers` plays them in others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from envs.instances import Instances
from envs.multimodal import World
from envs.types import Choices, Observation


@dataclass(frozen=True, slots=True)
class Start:
    """Begin an episode of `task` from `seed` in a seat, which is its world's until the episode ends."""

    seat: int
    task: str
    seed: int


@dataclass(frozen=True, slots=True)
class Say:
    """Say `text` to the world in a seat."""

    seat: int
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a world shows next, and what `World.step` told; `choices` None means that anything may be said."""

    observation: Observation
    choices: Choices
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether the episode ended."""
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True)
class Raised:
    """The world raised, or died: its episode is over, and the instance is gone."""

    told: str


Order = Start | Say
Answer = Shown | Raised


class Stage(Protocol):
    """Plays worlds for two halves of an actor's attention: one's worlds are played while the other is thought for."""

    def ask(self, half: int, orders: Sequence[Order]) -> None:
        """Hand over the next orders of a half, whose last answers were heard.

        Raises:
            UserError: a ticket's task is unknown, its world can't be made, or workers can't be started.
        """
        ...

    def hear(self, half: int) -> list[Answer]:
        """Wait for the answers to a half's last orders, in their order; raises as `ask` does."""
        ...

    def abandon(self) -> None:
        """Forget what is under way: the game was broken off."""
        ...


class Seats:
    """The worlds in play, each in its seat until its episode ends."""

    def __init__(self, pool: Instances) -> None:
        self._pool = pool
        self._taken: dict[int, tuple[str, World]] = {}

    def do(self, order: Order) -> Answer:
        """Carry out one order. A world whose episode ends goes back to the pool; one that raises is thrown away.

        Raises:
            UserError: the task is unknown, or its world can't be made.
        """
        if isinstance(order, Start):
            self._taken[order.seat] = order.task, self._pool.take(order.task)
        task, world = self._taken[order.seat]
        try:
            shown = _reset(world, order.seed) if isinstance(order, Start) else _step(world, order.text)
        except Exception as error:
            del self._taken[order.seat]
            self._pool.discard(world)
            return Raised(f"{type(error).__name__}: {error}")
        if shown.over:
            del self._taken[order.seat]
            self._pool.give_back(task, world)
        return shown

    def clear(self) -> None:
        """Throw away the worlds that are in play."""
        while self._taken:
            self._pool.discard(self._taken.popitem()[1][1])


class Here:
    """Plays worlds in this process, at once when asked."""

    def __init__(self, pool: Instances) -> None:
        self._seats = Seats(pool)
        self._answers: dict[int, list[Answer]] = {}

    def ask(self, half: int, orders: Sequence[Order]) -> None:
        """See `Stage`."""
        self._answers[half] = [self._seats.do(order) for order in orders]

    def hear(self, half: int) -> list[Answer]:
        """See `Stage`."""
        return self._answers.pop(half, [])

    def abandon(self) -> None:
        """See `Stage`."""
        self._seats.clear()
        self._answers.clear()


def _reset(world: World, seed: int) -> Shown:
    seen, _ = world.reset(seed=seed)
    return Shown(world.observe(seen), world.choices())


def _step(world: World, text: str) -> Shown:
    seen, reward, terminated, truncated, info = world.step(text)
    return Shown(world.observe(seen), world.choices(), reward, terminated, truncated, info)
