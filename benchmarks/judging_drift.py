"""Is drift found, how soon, and how often is there an alarm for nothing?

    python -m benchmarks.judging_drift [--json FILE] [--quick]

First success: streams of coins whose odds fall at a known episode, and streams whose odds never do. Then observations:
episodes that the pilot lives through in goto's rooms, drawn anew for each stream, as they were and then drifted, or
with another mix of instructions that are each known. The controls `never` and `every` stand beside the detectors.
Every number is what `schedules.watch.Watch` raises.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.living import DRIFTS, GOTO, Lives, lives
from benchmarks.runs import arguments, finish, machine
from schedules.drift_scores import DriftScores, drift_scores, together
from schedules.lived import Lived
from schedules.watch import DriftSettings, Watch

BEFORE, AFTER, CALM = 500, 500, 1000
"""Episodes before and after the drift of a stream, and of a stream without one."""
FALL = (0.7, 0.5)

NEVER = {"type": "never"}
BLIND = DriftSettings.model_validate({"reward": NEVER, "observation": NEVER, "mix": {"on": False}})

REWARD: dict[str, dict[str, Any]] = {
    "adwin (default)": {"type": "adwin"},
    "adwin, delta 0.05": {"type": "adwin", "delta": 0.05},
    "adwin, as in river: delta 0.002, clock 32": {"type": "adwin", "delta": 0.002, "clock": 32},
    "page_hinkley": {"type": "page_hinkley"},
    "never": NEVER,
    "every 200": {"type": "every", "episodes": 200},
}
OBSERVATION: dict[str, DriftSettings] = {
    "novelty (default)": BLIND.with_(observation={"type": "novelty"}),
    "centroid test (default)": BLIND.with_(mix={"on": True}),
    "adwin over novelty": BLIND.with_(observation={"type": "adwin"}),
    "page_hinkley over novelty": BLIND.with_(observation={"type": "page_hinkley"}),
    "never": BLIND,
    "every 200": BLIND.with_(observation={"type": "every", "episodes": 200}),
    "success by adwin, beside them": BLIND.with_(reward={"type": "adwin"}),
}
BALLS = "nine in ten to a ball"
REDS = "six in ten to a red thing"

Stream = Sequence[Lived]


@dataclass(frozen=True, slots=True)
class Told:
    """One row of a table: streams with a drift, and streams without."""

    drifted: DriftScores
    calm: DriftScores

    def __str__(self) -> str:
        delay = self.drifted.delay_median
        found = f"{self.drifted.found} of {self.drifted.drifts}"
        return f"{found:>12}{'' if delay is None else f'{delay:.1f}':>8}{self.calm.false_per_1000 or 0:10.3f}"


def main() -> None:
    """Measure, print the tables, write the figures."""
    given = arguments(__doc__ or "")
    print(f"{machine()}\n")
    finish(drift_figures(given.quick), given.json)


def drift_figures(quick: bool) -> dict[str, float | None]:
    """Every figure; those that are promised are `drift_found_of_100`, `drift_delay_median`, `drift_false_per_1000`."""
    streams = 20 if quick else 100
    told = reward_table(streams)
    figures: dict[str, float | None] = {
        "drift_found_of_100": 100 * told.drifted.found / told.drifted.drifts,
        "drift_delay_median": told.drifted.delay_median,
        "drift_false_per_1000": told.calm.false_per_1000,
        "drift_calm_episodes": told.calm.quiet,
    }
    began = time.perf_counter()
    met = lives(150, 50) if quick else lives(600, 200)
    print(f"\n{sum(len(one.lived) for one in met.values())} episodes lived in {time.perf_counter() - began:.0f} s")
    return figures | observation_table(met, streams // 2)


def reward_table(streams: int) -> Told:
    """Print what every detector makes of a fall of success; the default's row."""
    print(f"success {FALL[0]} -> {FALL[1]} at episode {BEFORE + 1} of {BEFORE + AFTER}, {streams} streams;")
    print(f"false alarms per 1000 on {streams * CALM} episodes of streams without drift\n")
    print(f"{'':44}{'found':>12}{'delay':>8}{'false':>10}")
    rows = {name: on_reward(BLIND.with_(reward=detector), streams, FALL) for name, detector in REWARD.items()}
    for name, told in rows.items():
        print(f"{name:44}{told}")
    print(f"\n{'the default, other falls':44}")
    for levels in ((0.95, 0.85), (0.9, 0.5), (0.5, 0.3), (0.3, 0.1)):
        told = on_reward(BLIND.with_(reward={"type": "adwin"}), streams, levels)
        print(f"{f'{levels[0]} -> {levels[1]}':44}{told}", flush=True)
    return rows["adwin (default)"]


def on_reward(settings: DriftSettings, streams: int, levels: tuple[float, float]) -> Told:
    """Coins with the odds `levels`, before and after; and with the first alone."""
    fallen = [coins([s, 1], [(levels[0], BEFORE), (levels[1], AFTER)]) for s in range(streams)]
    calm = [coins([s, 2], [(levels[0], CALM)]) for s in range(streams)]
    return Told(scored(settings, fallen, [BEFORE + 1]), scored(settings, calm, []))


def coins(seed: Sequence[int], parts: Iterable[tuple[float, int]]) -> Stream:
    """Episodes of one task that succeed with the odds of each part."""
    rng = np.random.default_rng(seed)
    odds = np.concatenate([np.full(count, level) for level, count in parts])
    wins = rng.random(len(odds)) < odds
    return [Lived(number, f"{number}", "task", float(win)) for number, win in enumerate(wins, 1)]


def observation_table(met: Mapping[str, Lives], streams: int) -> dict[str, float | None]:
    """Print what every detector of observations makes of each drift; the figures of the two defaults."""
    was = met[GOTO]
    after: dict[str, Callable[[np.random.Generator], list[Lived]]] = {
        name: drawer(met[name].lived) for name in DRIFTS if name != GOTO
    }
    after |= {BALLS: mixed(was, "ball", 0.9), REDS: mixed(was, "red", 0.6)}
    print(f"\n{streams} streams, {BEFORE} episodes as it was, then {AFTER} drifted: found, median delay")
    print(f"{'':30}" + "".join(f"{name:>26}" for name in after) + f"{'false per 1000':>16}")
    figures: dict[str, float | None] = {}
    for name, settings in OBSERVATION.items():
        calm = [renumbered(drawer(was.lived)(np.random.default_rng([s, 3]), CALM)) for s in range(streams)]
        false = scored(settings, calm, []).false_per_1000
        told = {drift: scored(settings, list(drifting(was, draw, streams)), [BEFORE + 1]) for drift, draw in after.items()}
        cells = [f"{f'{one.found} of {one.drifts}, {one.delay_median or 0:.0f}':>26}" for one in told.values()]
        print(f"{name:30}" + "".join(cells) + f"{false:16.3f}", flush=True)
    return figures


if __name__ == "__main__":
    main()
