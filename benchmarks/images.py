"""Image-conditional preference terms where the text alone gives 0.5: examined with pictures, and with them blanked.

python -m benchmarks.images

Two runs lie side by side on a thread each, so that no seconds are told.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.runs import Report, arguments, finish, machine, run, spread

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
        done = pool.map(lambda one: run("images", *_of(given.dir, *one)), asked)
    reports = dict(zip(asked, done, strict=True))
    print(f"stream images, seeds {', '.join(map(str, seeds))}; {machine()}\n")
    print(f"{'':18}{'seen':>24}{'pictures blanked':>24}{'goto, kept':>24}   median (range)")
    figures: dict[str, float | None] = {}
    for arm in ARMS:
        figures |= _tell(arm, [reports[arm, seed] for seed in seeds])
    finish(figures, given.json)


def _of(folder: Path, arm: str, seed: int) -> tuple[Path, list[str]]:
    """Where a run lies, and its settings."""
    name = arm.replace(", ", "-").replace("'", "").lower()
    changes = [f"cycles.0.update.{change}" for change in ARMS[arm]]
    return folder / f"images-{name}-{seed}", [f"seed={seed}", "model.threads=1", *changes]


def _tell(arm: str, reports: list[Report]) -> dict[str, float | None]:
    """Print an arm's row: the candidate's exam, promoted or not; its figures."""
    columns = {task: [r["cycles"][0]["after"][task] for r in reports] for task in ("seen", "blind", "goto")}
    print(f"{arm:18}{''.join(f'{spread(values):>24}' for values in columns.values())}", flush=True)
    return {f"{arm}_{task}": float(np.median(values)) for task, values in columns.items()}


if __name__ == "__main__":
    main()
