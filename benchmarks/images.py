"""Image-conditional preference terms where the text alone gives 0.5: examined with pictures, and with them blanked.

python -m benchmarks.images

Two runs lie side by side on a thread each, so that no seconds are told.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.runs import arguments, finish, machine, run, spread
from envs.collect import WorldPool
from schedules.commands.opening import policy_of
from schedules.config import load_stream
from schedules.controls import blanked
from schedules.exam import sit

LOOKS = ("image_weight=1", "anchor_weight=1")
ARMS: dict[str, tuple[str, ...]] = {
    "DPO": (),
    "mDPO, cropped": (*LOOKS, "wrong_image=crop"),
    "mDPO, another's": (*LOOKS, "wrong_image=other"),
    "rDPO, retrieved": (*LOOKS, "wrong_image=retrieved"),
    "POVID, noised": ("noised=64",),
}
SIDE_BY_SIDE = 2


def main() -> None:
    """Run every arm on every seed, print the table, write the figures."""
    given = arguments(__doc__ or "")
    seeds = (0,) if given.quick else (0, 1, 2)
    asked = list(product(ARMS, seeds))
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        scores = dict(zip(asked, pool.map(lambda one: _trained(given.dir, *one), asked), strict=True))
    for one in asked:
        scores[one]["blind"] = _blind(given.dir, *one)
    print(f"stream images, seeds {', '.join(map(str, seeds))}; {machine()}\n")
    print(f"{'':18}{'seen':>24}{'pictures blanked':>24}{'goto, kept':>24}{'image margin, nats':>24}   median (range)")
    figures: dict[str, float | None] = {}
    for arm in ARMS:
        figures |= _tell(arm, [scores[arm, seed] for seed in seeds])
    finish(figures, given.json)


def _of(folder: Path, arm: str, seed: int) -> tuple[Path, list[str]]:
    """Where a run lies, and its settings."""
    name = arm.replace(", ", "-").replace("'", "").lower()
    changes = [f"cycles.0.update.{change}" for change in ARMS[arm]]
    return folder / f"images-{name}-{seed}", [f"seed={seed}", "model.threads=1", *changes]


def _trained(folder: Path, arm: str, seed: int) -> dict[str, float]:
    """What the candidate scores with pictures, and how far its answer is from the one under a wrong picture."""
    cycle = run("images", *_of(folder, arm, seed))["cycles"][0]
    return {**cycle["after"], "image_margin": cycle["update"]["metrics"].get("image_margin")}


def _blind(folder: Path, arm: str, seed: int) -> float:
    """What it scores on the same seeds with every picture blanked."""
    where, changes = _of(folder, arm, seed)
    stream = load_stream("images", changes)
    pool = WorldPool(blanked({"seen": stream.regimes["seen"].world}, "pictures"))
    results, _ = sit(policy_of(stream, str(where)), ["seen"], stream.exam.episodes, pool, stream.width)
    pool.close()
    return results["seen"].mean


def _tell(arm: str, scores: list[dict[str, float]]) -> dict[str, float | None]:
    """Print an arm's row; its figures."""
    columns = {name: [score[name] for score in scores] for name in ("seen", "blind", "goto", "image_margin")}
    print(f"{arm:18}{''.join(f'{spread(values):>24}' for values in columns.values())}", flush=True)
    kept = {name: [value for value in values if value is not None] for name, values in columns.items()}
    return {f"{arm}_{name}": float(np.median(values)) for name, values in kept.items() if values}


if __name__ == "__main__":
    main()
