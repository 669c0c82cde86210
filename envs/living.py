"""Worlds that are lived in without end: one batched policy call a tick, episodes as they come to their ends."""

from collections.abc import Iterator

from envs.collect import Actor, WorldPool
from envs.flight import Flight
from envs.preface import Prefaced
from envs.stage import Order, Start
from envs.types import Episode, Ticket


class Living:
    """Plays the tickets of a source, `width` at once, and can be left and come back to between any two ticks.

    As in `envs.collect.collect`, every draw of an episode comes from its ticket's id alone. The pool is for it alone:
    its worlds stay in play between ticks.
    """

    def __init__(self, actor: Actor, pool: WorldPool, width: int, tickets: Iterator[Ticket]) -> None:
        self._actor, self._pool, self._width, self._tickets = actor, pool, width, tickets
        self._flights: list[Flight] = []
        self._place = 0

    def tick(self) -> list[Episode]:
        """Hear what the worlds answered, decide for all of them, and begin anew where one has ended.

        Returns:
            The episodes that ended, in the order in which they began.

        Raises:
            UserError: a world can't be made.
        """
        for flight, answer in zip(self._flights, self._pool.stage.hear(0), strict=True):
            flight.take(answer)
        ended = [flight.land() for flight in self._flights if flight.stop is not None]
        self._flights = [flight for flight in self._flights if flight.stop is None]
        orders = self._think()
        while len(self._flights) < self._width:
            orders.append(self._begin(next(self._tickets)))
        self._pool.stage.ask(0, orders)
        return ended

    def begin_anew(self) -> None:
        """Whoever acts is another from now on: what is under way is played again from its start, by that one."""
        self._pool.stage.abandon()
        again, self._flights = self._flights, []
        self._pool.stage.ask(0, [self._begin(flight.ticket) for flight in again])

    def _think(self) -> list[Order]:
        if not self._flights:
            return []
        flights = self._flights
        replies = self._actor.act(
            [f.observation for f in flights], [f.choices for f in flights], [f.rng for f in flights]
        )
        return [flight.say(Prefaced(flight.observation), reply) for flight, reply in zip(flights, replies, strict=True)]

    def _begin(self, ticket: Ticket) -> Order:
        flight = Flight(self._place, ticket, self._pool.settings(ticket.task).success, self._actor.version)
        self._flights.append(flight)
        self._place += 1
        return Start(flight.place, ticket.task, ticket.seed)
