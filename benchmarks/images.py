"""Image-conditional preference terms where the text alone gives 0.5: examined with pictures, and with them blanked.

python -m benchmarks.images

Two runs lie side by side on a thread each, so that no seconds are told.
"""

from pathlib import Path

import numpy as np

from benchmarks.runs import Report, arguments, finish, machine, place, side_by_side, spread
from envs.collect import WorldPool
from schedules.commands.opening import policy_of
from schedules.config import load_stream
from schedules.controls import blanked
from schedules.exam import sit
from schedules.folder import SETTINGS

LOOKS = ("image_weight=1", "anchor_weight=1")
ARMS: dict[str, tuple[str, ...]] = {
    "DPO": (),
    "mDPO, cropped": (*LOOKS, "wrong_image=crop"),
    "mDPO, another's": (*LOOKS, "wrong_image=other"),
    "rDPO, retrieved": (*LOOKS, "wrong_image=retrieved"),
    "POVID, noised": ("noised=64",),
}


def main() -> None:
    """Run every arm on every seed, print the table, write the figures."""
    given = arguments(__doc__ or "")
    seeds = (0,) if given.quick else (0, 1, 2)
    changes = {arm: [f"cycles.0.update.{change}" for change in some] for arm, some in ARMS.items()}
    reports = side_by_side("images", given.dir, changes, seeds)
    print(f"stream images, seeds {', '.join(map(str, seeds))}; {machine()}\n")
    print(f"{'':18}{'seen':>24}{'pictures blanked':>24}{'goto, kept':>24}{'image margin, nats':>24}   median (range)")
    figures: dict[str, float | None] = {}
    for arm in ARMS:
        runs = [place(given.dir, "images", arm, seed) for seed in seeds]
        figures |= _tell(arm, [_scores(report, folder) for report, folder in zip(reports[arm], runs, strict=True)])
    finish(figures, given.json)


def _scores(report: Report, folder: Path) -> dict[str, float | None]:
    """What the candidate scores with pictures and, on the same seeds, with every picture blanked."""
    cycle, stream = report["cycles"][0], load_stream(str(folder / SETTINGS))
    pool = WorldPool(blanked({"seen": stream.regimes["seen"].world}, "pictures"))
    results, _ = sit(policy_of(stream, str(folder)), ["seen"], stream.exam.episodes, pool, stream.width)
    pool.close()
    margin = cycle["update"]["metrics"].get("image_margin")
    return {**cycle["after"], "blind": results["seen"].mean, "image_margin": margin}


def _tell(arm: str, scores: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Print an arm's row; its figures."""
    columns = {name: [score[name] for score in scores] for name in ("seen", "blind", "goto", "image_margin")}
    print(f"{arm:18}{''.join(f'{spread(values):>24}' for values in columns.values())}", flush=True)
    kept = {name: [value for value in values if value is not None] for name, values in columns.items()}
    return {f"{arm}_{name}": float(np.median(values)) for name, values in kept.items() if values}


if __name__ == "__main__":
    main()
