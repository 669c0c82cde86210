"""Worlds lived in without end, by scripted actors: what is played does not depend on when it is left and come back to.

The identity world of length 2 ends every episode at its second answer: a tick begins it, two say something, and a
fourth hears its end and begins the next in its place. So ticks 4, 7, 10 ... hear ends.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from envs.collect import WorldPool, collect
from envs.living import Living
from envs.multimodal import WorldSettings
from envs.types import Choices, Episode, Observation, Reply, Ticket

WORLD = {"id": "envs.copycat:Copycat-v0", "kwargs": {"words": ["red", "green"], "length": 2}}


class Coin:
    """Says one of the choices by each episode's own generator."""

    version = "coin"

    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        """See `envs.collect.Actor`."""
        said = [str(rng.choice(list(texts or ()))) for texts, rng in zip(choices, rngs, strict=True)]
        return [Reply(text, np.array([1]), np.zeros(1, np.float32), "closed") for text in said]


def tickets() -> Iterator[Ticket]:
    for number in range(10**9):
        yield Ticket(f"life/{number}", "cat", number % 7, "life", number, 0)


def pool() -> WorldPool:
    return WorldPool({"cat": WorldSettings.model_validate({**WORLD, "success": {"info": "success"}})})


def told(episodes: Sequence[Episode]) -> list[tuple[object, ...]]:
    return [(e.id, e.success, e.policy_version, [s.action.text for s in e.steps]) for e in episodes]


def test_it_plays_what_collect_plays() -> None:
    """8 worlds: each third tick hears 8 ends and begins 8 anew."""
    living = Living(Coin(), pool(), 8, tickets())
    heard = [living.tick() for _ in range(10)]
    assert [len(episodes) for episodes in heard] == [0, 0, 0, 8, 0, 0, 8, 0, 0, 8]
    lived = [episode for episodes in heard for episode in episodes]
    source = tickets()
    assert told(lived) == told(collect(Coin(), [next(source) for _ in range(24)], pool(), 3))


def test_another_who_acts_begins_anew_what_was_under_way() -> None:
    """No episode has two policies, and no ticket is lost."""
    coin = Coin()
    living = Living(coin, pool(), 4, tickets())
    first = [episode for _ in range(5) for episode in living.tick()]
    assert [e.id for e in first] == [f"life/{n}" for n in range(4)]
    coin.version = "another"
    living.begin_anew()
    later = [episode for _ in range(3) for episode in living.tick()]
    assert [(e.id, e.policy_version, len(e.steps)) for e in later] == [(f"life/{n}", "another", 2) for n in range(4, 8)]
