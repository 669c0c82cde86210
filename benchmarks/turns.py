"""Ratios as they are told: all sides in turn in one run, medians, with their spread."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Side = Callable[[int], float | None]
"""Does its work on the numbered round's own data, which no side has seen before; its seconds where not all counts."""


def in_turn(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each side in each round. Every round begins with another side; round 0 is not counted."""
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            began = time.perf_counter()
            own = sides[name](number)
            if number:
                seconds[name].append(time.perf_counter() - began if own is None else own)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """One ratio a round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def told(values: Sequence[float]) -> str:
    """Median and quartiles, as `1.12 (1.10..1.15)`."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}..{high:.2f})"


def line(what: str, values: Sequence[float], bar: str, peer: str = "") -> float:
    """Print a row of the table; returns its median."""
    print(f"{what:64}{told(values):>22}   {bar:12}{peer}", flush=True)
    return float(np.median(values))
