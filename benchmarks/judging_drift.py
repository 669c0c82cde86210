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

NEVER, ADWIN = {"type": "never"}, {"type": "adwin"}
BLIND = DriftSettings.model_validate({"reward": NEVER, "observation": NEVER, "mix": {"on": False}})

REWARD: dict[str, dict[str, Any]] = {
    "adwin (default)": ADWIN,
    "adwin, delta 0.05": {"type": "adwin", "delta": 0.05},
    "adwin, as in river: delta 0.002, clock 32": {"type": "adwin", "delta": 0.002, "clock": 32},
    "page_hinkley": {"type": "page_hinkley"},
    "never": NEVER,
    "every 200": {"type": "every", "episodes": 200},
}
OBSERVATION: dict[str, DriftSettings] = {
    "novelty": BLIND.with_(observation={"type": "novelty"}),
    "centroid": BLIND.with_(mix={"on": True}),
    "adwin": BLIND.with_(observation=ADWIN),
    "page_hinkley": BLIND.with_(observation={"type": "page_hinkley"}),
    "never": BLIND,
    "every 200": BLIND.with_(observation={"type": "every", "episodes": 200}),
    "success": BLIND.with_(reward=ADWIN),
}
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
    began = time.process_time()
    met = lives(150, 50) if quick else lives(600, 200)
    count = sum(len(one.lived) for one in met.values())
    print(f"\n{count} episodes lived in {time.process_time() - began:.0f} s of a core")
    return figures | observation_table(met, streams // 2)


def reward_table(streams: int) -> Told:
    """Print what every detector makes of a fall of success; the default's row."""
    print(f"success {FALL[0]} -> {FALL[1]} at episode {BEFORE + 1} of {BEFORE + AFTER}, {streams} streams;")
    print(f"false alarms per 1000 on {streams * CALM} episodes of streams without drift\n")
    print(f"{'':44}{'found':>12}{'delay':>8}{'false':>10}")
    rows = {name: on_reward(BLIND.with_(reward=detector), streams, FALL) for name, detector in REWARD.items()}
    rows["adwin, a running mean taken off before"] = on_reward(BLIND.with_(reward=ADWIN), streams, FALL, residual)
    for name, told in rows.items():
        print(f"{name:44}{told}")
    print(f"\n{'the default, other falls':44}")
    for levels in ((0.95, 0.85), (0.9, 0.5), (0.5, 0.3), (0.3, 0.1)):
        told = on_reward(BLIND.with_(reward=ADWIN), streams, levels)
        print(f"{f'{levels[0]} -> {levels[1]}':44}{told}", flush=True)
    return rows["adwin (default)"]


def on_reward(
    settings: DriftSettings,
    streams: int,
    levels: tuple[float, float],
    told: Callable[[Stream], Stream] = lambda stream: stream,
) -> Told:
    """Coins with the odds `levels`, before and after, and with the first alone, as `told` of them."""
    fallen = [told(coins([s, 1], [(levels[0], BEFORE), (levels[1], AFTER)])) for s in range(streams)]
    calm = [told(coins([s, 2], [(levels[0], CALM)])) for s in range(streams)]
    return Told(scored(settings, fallen, [BEFORE + 1]), scored(settings, calm, []))


def coins(seed: Sequence[int], parts: Iterable[tuple[float, int]]) -> Stream:
    """Episodes of one task that succeed with the odds of each part."""
    rng = np.random.default_rng(seed)
    odds = np.concatenate([np.full(count, level) for level, count in parts])
    wins = rng.random(len(odds)) < odds
    return [Lived(number, f"{number}", "task", float(win)) for number, win in enumerate(wins, 1)]


def residual(stream: Stream) -> Stream:
    """Each reward less the mean of those before it."""
    rewards = np.array([lived.reward for lived in stream])
    means = np.cumsum(rewards) / np.arange(1, len(rewards) + 1)
    baseline = [rewards[0], *means[:-1]]
    return [replace(lived, reward=lived.reward - float(base)) for lived, base in zip(stream, baseline, strict=True)]


def scored(settings: DriftSettings, streams: Iterable[Stream], drifts: Sequence[int]) -> DriftScores:
    """What a watch with these settings raises on each stream, against its drift points."""
    watch, scores = Watch(settings), []
    for stream in streams:
        watch.reset()
        alarms = [alarm.episode for lived in stream for alarm in watch.see(lived)]
        scores.append(drift_scores(alarms, drifts, len(stream), window=AFTER))
    return together(scores)


def observation_table(
    met: Mapping[str, Lives], streams: int, detectors: Mapping[str, DriftSettings] = OBSERVATION
) -> dict[str, float | None]:
    """Print what is made of each drift of what is seen, found of 100 and median delay; the same as figures."""
    was, figures = met[GOTO], dict[str, float | None]()
    odds = {name: (met[name], None) for name in DRIFTS if name != GOTO}
    odds |= {
        "9 of 10 to a ball": (was, leaning(was, "ball", 0.9)),
        "7 of 10 to a ball": (was, leaning(was, "ball", 0.7)),
    }
    print(f"\n{streams} streams of {BEFORE} episodes as it was and {AFTER} drifted: found of 100 (median delay);")
    print(f"false alarms per 1000 on {streams * CALM} episodes as it was, drawn from {len(was.lived)}\n")
    print(f"{'':24}" + "".join(f"{name:>16}" for name in detectors))
    for drift, (world, weights) in odds.items():
        drawn = [joined(was, world, weights, np.random.default_rng([s, 3])) for s in range(streams)]
        told = {name: scored(settings, drawn, [BEFORE + 1]) for name, settings in detectors.items()}
        figures |= {f"drift_{name}_{drift}".replace(" ", "_"): one.found / one.drifts for name, one in told.items()}
        print(f"{drift:24}" + "".join(f"{cell(one):>16}" for one in told.values()), flush=True)
    calm = [drawn_from(was, CALM, None, np.random.default_rng([s, 4])) for s in range(streams)]
    false = {name: scored(settings, calm, []).false_per_1000 for name, settings in detectors.items()}
    print(f"{'no drift: false':24}" + "".join(f"{rate or 0:16.3f}" for rate in false.values()))
    return figures | {f"drift_{name}_false_per_1000".replace(" ", "_"): rate for name, rate in false.items()}


def cell(score: DriftScores) -> str:
    """As `97 (31)`."""
    delay = "" if score.delay_median is None else f" ({score.delay_median:.0f})"
    return f"{100 * score.found / score.drifts:.0f}{delay}"


def leaning(world: Lives, word: str, share: float) -> np.ndarray:
    """Chances of each episode with which `share` of those drawn have the word in their instruction, `[n]`."""
    has = np.array([word in text.split() or f"{word}." in text.split() for text in world.words])
    return np.where(has, share / has.sum(), (1 - share) / (~has).sum())


def joined(was: Lives, world: Lives, weights: np.ndarray | None, rng: np.random.Generator) -> Stream:
    """A life that drifts: as it was, then `world`."""
    return [*drawn_from(was, BEFORE, None, rng), *drawn_from(world, AFTER, weights, rng, first=BEFORE + 1)]


def drawn_from(
    world: Lives, count: int, weights: np.ndarray | None, rng: np.random.Generator, first: int = 1
) -> list[Lived]:
    """Episodes of a world, each as likely as its weight, one after the other from number `first` on."""
    places = rng.choice(len(world.lived), count, p=weights)
    return [replace(world.lived[place], number=number) for number, place in enumerate(places, first)]


if __name__ == "__main__":
    main()
