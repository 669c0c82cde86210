"""Collecting episodes against the machine's bound: cores / (CPU-seconds of model and world, per decision)."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence

import numpy as np

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.device import usable_cores
from agent.policy import Policy
from benchmarks.turns import told
from envs.collect import WorldPool, collect
from envs.multimodal import WorldSettings, make_world
from envs.types import Episode, Observation, Reply, Ticket

WORLDS = {
    "MiniGrid's own BabyAI": {
        "id": "minigrid:BabyAI-GoToLocal-v0",
        "kwargs": {"render_mode": "rgb_array", "agent_pov": True, "tile_size": 8, "max_steps": 16},
        "image": "render",
        "instruction": "go to the red ball",
        "actions": {"turn left": 0, "turn right": 1, "go forward": 2},
        "success": {"return_at_least": 0.01},
    },
    "our GoTo": {"id": "envs.babyai:GoTo-v0", "success": {"info": "success"}},
}
WIDTH = 128
EPISODES = 192


class Metered:
    """An actor, and the CPU-seconds it takes."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.version = policy.version
        self.cpu = 0.0

    def act(
        self,
        observations: Sequence[Observation],
        choices: Sequence[tuple[str, ...] | None],
        rngs: Sequence[np.random.Generator],
    ) -> list[Reply]:
        """See `envs.collect.Actor`."""
        began = time.process_time()
        replies = self.policy.act(observations, choices, rngs)
        self.cpu += time.process_time() - began
        return replies


def collecting(trained: Callable[[Policy], Policy], rounds: int) -> dict[str, float]:
    """Decisions a second from end to end, as a share of what all cores could reach if nothing ever waited.

    The model has one thread, as it should beside worker processes; its cost and the world's are CPU-seconds, measured
    where neither waits for the other.
    """
    policy = trained(Policy(ModelSettings(threads=1), LoraSettings()))
    cores = usable_cores()
    figures: dict[str, float] = {}
    for number, (name, about) in enumerate(WORLDS.items()):
        settings = {"w": WorldSettings.model_validate(about)}
        here, there = WorldPool(settings), WorldPool(settings, cores)
        measured = [_round(policy, here, there, cores, number * 10**6 + r * EPISODES) for r in range(rounds + 1)][1:]
        for pool in (here, there):
            pool.close()
        model, world, alone, beside = (list(column) for column in zip(*measured, strict=True))
        shares, before = (
            [wall_bound / wall for wall_bound, wall in zip(_bounds(model, world, cores), walls, strict=True)]
            for walls in (beside, alone)
        )
        costs = f"model {1e3 * np.median(model):.2f} ms, world {1e3 * np.median(world):.2f} ms"
        print(
            f"{f'collecting {name} / the bound of {cores} cores':62}{told(shares):>22}   {'>= 0.70':12}"
            f"in one process: {told(before)}; {costs} CPU a decision",
            flush=True,
        )
        key = "collect" if number == 0 else "collect_goto"
        figures |= {f"{key}_vs_bound": float(np.median(shares)), f"{key}_vs_bound_in_process": float(np.median(before))}
        figures |= {f"{key}_model_ms": 1e3 * float(np.median(model)), f"{key}_world_ms": 1e3 * float(np.median(world))}
    return figures


def _bounds(model: Sequence[float], world: Sequence[float], cores: int) -> list[float]:
    """Wall seconds a decision that could not be undercut, round by round."""
    return [(m + w) / cores for m, w in zip(model, world, strict=True)]


def _round(policy: Policy, here: WorldPool, there: WorldPool, cores: int, first: int) -> tuple[float, ...]:
    """Per decision: CPU-seconds of the model and of the world, wall seconds in one process and with workers.

    Both play the same tickets; neither finds the other's pictures in the caches.
    """
    tickets = [Ticket(f"{first + i}", "w", first + i, "g", 0, 0) for i in range(EPISODES)]
    actor = Metered(policy)
    walls = {}
    with contextlib.redirect_stdout(io.StringIO()):  # MiniGrid tells of every room it draws again
        for pool in (here, there) if first // EPISODES % 2 else (there, here):
            policy.vision.forget()
            began = time.perf_counter()
            episodes = collect(actor if pool is here else policy, tickets, pool, WIDTH)
            walls[pool] = time.perf_counter() - began
        world = _world_seconds(here, episodes)
    decisions = sum(len(episode.steps) for episode in episodes)
    return tuple(total / decisions for total in (actor.cpu, world, walls[here], walls[there]))


def _world_seconds(pool: WorldPool, episodes: Sequence[Episode]) -> float:
    """CPU-seconds of the worlds alone: the same episodes played again in a world that has not met them yet."""
    world = make_world(pool.settings("w"))
    began = time.process_time()
    for episode in episodes:
        seen, _ = world.reset(seed=episode.seed)
        world.observe(seen)
        for step in episode.steps:
            seen, *_ = world.step(step.action.text)
            world.observe(seen)
    return time.process_time() - began
