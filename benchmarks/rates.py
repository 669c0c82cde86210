"""How much an update computes, and how fast this machine could at best."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from agent.lvlm.crew import Crew
from agent.policy import Policy

SIDES = (512, 768, 1024, 1536, 2048, 3072)
TRIES = 5


def best_product(threads: int, sides: tuple[int, ...] = SIDES) -> tuple[float, int]:
    """The highest rate of float32 matrix products found, flop/s, and the side of the squares that reached it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = (0.0, 0)
    for side in sides:
        a, b, out = (torch.randn(side, side) for _ in range(3))
        torch.mm(a, b, out=out)
        for _ in range(TRIES):
            began = time.perf_counter()
            torch.mm(a, b, out=out)
            found = max(found, (2 * side**3 / (time.perf_counter() - began), side))
    torch.set_num_threads(before)
    return found


def flops(policy: Policy, work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and attentions in `work`, vision tower and backward included."""
    crew = policy.engine.crew
    policy.engine.crew = policy.vision.crew = Crew(1)  # torch counts in the thread that asks alone
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        policy.engine.crew = policy.vision.crew = crew
    return counter.get_total_flops()
