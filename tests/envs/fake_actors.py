"""Actors without a model."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from envs.multimodal import World, WorldSettings, make_world
from envs.types import Choices, Episode, Observation, Reply, Ticket


def reply(text: str) -> Reply:
    """A reply of two tokens."""
    return Reply(text, np.array([len(text), 1], dtype=np.int64), np.array([-0.5, 0.0], dtype=np.float32), "closed")


class Scripted:
    """Says what `script` answers to an observation."""

    version = "scripted"

    def __init__(self, script: Callable[[Observation], str]) -> None:
        self.script = script
        self.widths: list[int] = []

    def act(
        self,
        observations: Sequence[Observation],
        choices: Sequence[Choices],
        rngs: Sequence[np.random.Generator],
    ) -> list[Reply]:
        self.widths.append(len(observations))
        return [reply(self.script(observation)) for observation in observations]


class Random(Scripted):
    """Says any of the choices, each row by its own generator."""

    version = "random"

    def __init__(self) -> None:
        super().__init__(lambda _: "")

    def act(
        self,
        observations: Sequence[Observation],
        choices: Sequence[Choices],
        rngs: Sequence[np.random.Generator],
    ) -> list[Reply]:
        self.widths.append(len(observations))
        return [reply(row[rng.integers(len(row))] if row else "?") for row, rng in zip(choices, rngs, strict=True)]


def corridor(timed: bool = False, broken: str = "", noop_action: bool = False, **more: object) -> WorldSettings:
    """Settings of the corridor."""
    kwargs = {"broken": broken, "noop": noop_action}
    name = f"tests.envs.fake_worlds:Corridor{'Timed' if timed else ''}-v0"
    return WorldSettings.model_validate({"id": name, "kwargs": kwargs, "success": {"info": "success"}, **more})


def copycat(**more: object) -> WorldSettings:
    """Settings of the identity world; what isn't a world setting is its own."""
    known = set(WorldSettings.model_fields)
    own = {key: value for key, value in more.items() if key not in known}
    rest = {key: value for key, value in more.items() if key in known}
    data = {"id": "envs.copycat:Copycat-v0", "kwargs": own, "success": {"info": "success"}, **rest}
    return WorldSettings.model_validate(data)


def tickets(task: str, count: int, same_seed: bool = False) -> list[Ticket]:
    """Tickets of one task."""
    return [Ticket(f"{task}-{i}", task, 0 if same_seed else i, "g", i, 1) for i in range(count)]


def started(settings: WorldSettings, seed: int = 0) -> World:
    """A world after its reset."""
    world = make_world(settings)
    world.reset(seed=seed)
    return world


def same(a: Episode, b: Episode) -> bool:
    """Bit-equal in everything that is kept."""
    if replace(a, steps=(), final=Observation("")) != replace(b, steps=(), final=Observation("")):
        return False
    seen = [*((s.observation, t.observation) for s, t in zip(a.steps, b.steps, strict=True)), (a.final, b.final)]
    if not all(x.text == y.text and all(map(np.array_equal, x.images, y.images)) for x, y in seen):
        return False
    if not all(
        np.array_equal(s.action.tokens, t.action.tokens) and np.array_equal(s.action.logprobs, t.action.logprobs)
        for s, t in zip(a.steps, b.steps, strict=True)
    ):
        return False
    return all(
        (s.choices, s.reward, s.cost, s.terminated, s.truncated, s.info, s.action.text, s.action.command)
        == (t.choices, t.reward, t.cost, t.terminated, t.truncated, t.info, t.action.text, t.action.command)
        for s, t in zip(a.steps, b.steps, strict=True)
    )
