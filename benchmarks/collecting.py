"""Collecting episodes against the machine's bound: cores / (CPU-seconds of model and world, per decision)."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.device import usable_cores
from agent.policy import Policy
from benchmarks.turns import told
from envs.collect import Actor, WorldPool, collect
from envs.multimodal import WorldSettings
from envs.stage import Answer, Order, Stage
from envs.types import Choices, Observation, Reply, Ticket

WORLDS = {
    "collect": {  # BabyAI as MiniGrid makes and draws it
        "id": "minigrid:BabyAI-GoToLocal-v0",
        "kwargs": {"render_mode": "rgb_array", "agent_pov": True, "tile_size": 8, "max_steps": 16},
        "image": "render",
        "instruction": "go to the red ball",
        "actions": {"turn left": 0, "turn right": 1, "go forward": 2},
        "success": {"return_at_least": 0.01},
    },
    "collect_goto": {"id": "envs.babyai:GoTo-v0", "success": {"info": "success"}},
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
        choices: Sequence[Choices],
        rngs: Sequence[np.random.Generator],
    ) -> list[Reply]:
        """See `envs.collect.Actor`."""
        began = time.process_time()
        replies = self.policy.act(observations, choices, rngs)
        self.cpu += time.process_time() - began
        return replies


class MeteredStage:
    """A stage in this process, and the CPU-seconds of its worlds."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cpu = 0.0

    def ask(self, half: int, orders: Sequence[Order]) -> None:
        """See `Stage`."""
        began = time.process_time()
        self.stage.ask(half, orders)
        self.cpu += time.process_time() - began

    def hear(self, half: int) -> list[Answer]:
        """See `Stage`."""
        return self.stage.hear(half)

    def abandon(self) -> None:
        """See `Stage`."""
        self.stage.abandon()


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds a decision: CPU of the model on one thread, CPU of the world, wall in one process and with workers."""

    model: float
    world: float
    alone: float
    beside: float


def collecting(trained: Callable[[Policy], Policy], rounds: int) -> dict[str, float]:
    """Decisions a second from end to end, as a share of what all cores could reach if nothing ever waited.

    CPU-seconds are measured on one thread in one process, where nothing waits for anything.
    """
    before = torch.get_num_threads()
    cores = usable_cores()
    one, all_ = (trained(Policy(ModelSettings(threads=threads), LoraSettings())) for threads in (1, cores))
    figures: dict[str, float] = {}
    for number, (key, about) in enumerate(WORLDS.items()):
        settings = {"w": WorldSettings.model_validate(about)}
        here, there = WorldPool(settings), WorldPool(settings, cores)
        meter = here.stage = MeteredStage(here.stage)
        firsts = [number * 10**6 + r * 2 * EPISODES for r in range(rounds + 1)]
        costs = [_round(one, all_, here, meter, there, first) for first in firsts][1:]
        for pool in (here, there):
            pool.close()
        figures |= _tell(key, costs, cores)
    torch.set_num_threads(before)
    return figures


def _tell(key: str, costs: Sequence[Costs], cores: int) -> dict[str, float]:
    """Print a world's row; its figures."""
    shares, before = ([(c.model + c.world) / cores / wall for c, wall in zip(costs, walls, strict=True)] for walls in (
        [c.beside for c in costs], [c.alone for c in costs]
    ))  # fmt: skip
    model, world = (1e3 * float(np.median(some)) for some in ([c.model for c in costs], [c.world for c in costs]))
    what = f"{key}: decisions per second / the bound of {cores} cores"
    peer = f"in one process, one thread: {told(before)}; a decision's CPU: model {model:.2f} ms, world {world:.2f} ms"
    print(f"{what:64}{told(shares):>22}   {'>= 0.70':12}{peer}", flush=True)
    return {
        f"{key}_vs_bound": float(np.median(shares)),
        f"{key}_vs_bound_in_process": float(np.median(before)),
        f"{key}_model_ms": model,
        f"{key}_world_ms": world,
    }


def _round(one: Policy, all_: Policy, here: WorldPool, meter: MeteredStage, there: WorldPool, first: int) -> Costs:
    """Both sides once, on rooms that neither has met."""
    actor = Metered(one)
    meter.cpu = 0.0
    walls, decisions = {}, {}
    sides: list[tuple[Actor, WorldPool, int]] = [(actor, here, first), (all_, there, first + EPISODES)]
    with contextlib.redirect_stdout(io.StringIO()):  # MiniGrid tells of every room it draws again
        for player, pool, seed in sides if first // EPISODES % 4 else sides[::-1]:
            tickets = [Ticket(f"{seed + i}", "w", seed + i, "g", 0, 0) for i in range(EPISODES)]
            torch.set_num_threads(one.threads if pool is here else all_.threads)
            began = time.perf_counter()
            episodes = collect(player, tickets, pool, WIDTH)
            walls[pool] = time.perf_counter() - began
            decisions[pool] = sum(len(episode.steps) for episode in episodes)
    alone, beside = decisions[here], decisions[there]
    return Costs(actor.cpu / alone, meter.cpu / alone, walls[here] / alone, walls[there] / beside)
