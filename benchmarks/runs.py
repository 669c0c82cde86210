"""Whole runs as a user starts them, one after the other in a process of their own, read back from `report.json`."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

Report = dict[str, Any]


def arguments(about: str) -> argparse.Namespace:
    """The options every benchmark has."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", type=Path, help="also write the figures there, flat")
    parser.add_argument("--quick", action="store_true", help="one seed, to see that it works; quote nothing of it")
    parser.add_argument("--dir", type=Path, default=Path("runs/benchmarks"), help="where the runs lie (kept)")
    return parser.parse_args()


def run(stream: str, folder: Path, settings: Sequence[str]) -> Report:
    """Run a stream to its end and return its report, with `wall` and `cpu`, the seconds of the whole process.

    A run that is there already is not repeated: an interrupted benchmark goes on where it was, and its seconds add up.
    """
    done, cost = folder / "finished", folder / "cost.json"
    spent: dict[str, float] = json.loads(cost.read_text()) if cost.exists() else {"wall": 0.0, "cpu": 0.0}
    if not done.exists():
        command = [sys.executable, "-m", "schedules.cli", "run", stream, "--dir", str(folder)]
        command += ["--resume"] if (folder / "run.db").exists() else []
        command += [part for setting in settings for part in ("--set", setting)]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        spent["wall"] += time.perf_counter() - began
        spent["cpu"] += usage.ru_utime + usage.ru_stime
        cost.write_text(json.dumps(spent))
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    report: Report = json.loads((folder / "report.json").read_text())
    return report | spent


def place(folder: Path, stream: str, arm: str, seed: int) -> Path:
    """Where the run of an arm on a seed lies."""
    return folder / f"{stream}-{arm.replace(', ', '-').replace(chr(39), '').lower()}-{seed}"


def side_by_side(
    stream: str, folder: Path, arms: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> dict[str, list[Report]]:
    """Each arm's settings on each seed, two runs at once on a thread each: nothing of it may tell seconds.

    Returns:
        The reports of each arm, in the order of the seeds.
    """
    asked = list(product(arms, seeds))
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(
            lambda one: run(stream, place(folder, stream, *one), [f"seed={one[1]}", "model.threads=1", *arms[one[0]]]),
            asked,
        )
        reports = dict(zip(asked, done, strict=True))
    return {arm: [reports[arm, seed] for seed in seeds] for arm in arms}


def spread(values: Sequence[float | None]) -> str:
    """Median and range, as `0.93 (0.91..0.95)`."""
    kept = [v for v in values if v is not None]
    return f"{np.median(kept):.2f} ({min(kept):.2f}..{max(kept):.2f})" if kept else "none"


def machine() -> str:
    """Where this ran, in one line."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def finish(figures: dict[str, Any], path: Path | None) -> None:
    """Write the flat figures if asked for."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")
