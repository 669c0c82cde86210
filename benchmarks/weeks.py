"""A life of many cycles: `holdtrue serve weeks`, killed at random moments, looked over after each, and gone on with.

    python -m benchmarks.weeks [--json FILE] [--quick]

A kill is SIGKILL; between two lie exponentially distributed seconds. Broken is: an adapter that was promoted and is
gone or not as it was, a cycle missing or run twice, an episode that is remembered and not counted as lived, a file that
SQLite finds damaged.
"""

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.runs import arguments, finish, machine
from schedules.control import control_of

CYCLES, SECONDS_BETWEEN = 50, 90.0
BEGIN_SECONDS = 300.0


@dataclass(slots=True)
class Seen:
    """What was seen from outside.

    Attributes:
        adapters: digests of promoted adapters, by folder.
        met: what the service was doing when it was killed, and how often.
        pauses: how often it had paused itself after many refusals, and was told to go on.
        resident: megabytes after each cycle, a list for each process.
        broken: what was found to be broken.
    """

    adapters: dict[str, str] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    pauses: int = 0
    resident: list[list[float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def main() -> None:
    """Serve and kill until the cycles are committed; stop it as one should; print what came of it."""
    given = arguments(__doc__ or "")
    cycles = 3 if given.quick else CYCLES
    folder: Path = given.dir / f"weeks-{cycles}"
    seen, rng = Seen(), np.random.default_rng(0)
    while lives(process := serve(folder), folder, float(rng.exponential(SECONDS_BETWEEN)), cycles, seen):
        seen.met[doing(folder)] += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        look_over(folder, seen)
        print(f"kill {seen.met.total()}, {committed(folder)} cycles", flush=True)
    stopping, code = ended(process, folder)
    look_over(folder, seen)
    tell(folder, seen, stopping, code)
    finish(figures(folder, seen, stopping), given.json)


def lives(process: "subprocess.Popen[bytes]", folder: Path, seconds: float, cycles: int, seen: Seen) -> bool:
    """Let it live so long; False if it committed its last cycle before."""
    end, before = time.monotonic() + seconds, committed(folder)
    seen.resident.append([])
    while time.monotonic() < end and committed(folder) < cycles:
        time.sleep(0.2)
        if (now := committed(folder)) > before:
            before = now
            seen.resident[-1].append(psutil.Process(process.pid).memory_info().rss / 1e6)
        if process.poll() is not None:
            raise SystemExit(f"the service ended by itself; see {folder.with_suffix('.log')}")
        with control_of(folder) as control:
            seen.pauses += bool(control.paused) and control.resume()
    return committed(folder) < cycles


def ended(process: "subprocess.Popen[bytes]", folder: Path) -> tuple[float, int]:
    """Seconds from SIGTERM in the middle of a cycle (or of a life without one for two minutes), and the exit code."""
    patience = time.monotonic() + 120
    while doing(folder) != "a cycle" and time.monotonic() < patience:
        time.sleep(0.5)
    time.sleep(3)
    began = time.monotonic()
    process.terminate()
    code = process.wait()
    return time.monotonic() - began, code


def serve(folder: Path) -> "subprocess.Popen[bytes]":
    """The command, in a process of its own; returns at its first sign of life."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "schedules.cli", "serve", "weeks", "--dir", str(folder)]
    with folder.with_suffix(".log").open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    end = time.monotonic() + BEGIN_SECONDS
    while beat(folder).get("pid") != process.pid:
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the service does not begin; see {folder.with_suffix('.log')}")
        time.sleep(0.1)
    return process


def beat(folder: Path) -> dict[str, Any]:
    """The last sign of life."""
    with control_of(folder) as control:
        return control.last_beat()


def doing(folder: Path) -> str:
    """What it does just now: living, or a cycle."""
    told = str(beat(folder).get("doing", ""))
    kinds = {"cycle": "a cycle", "living": "living", "paused": "a pause"}
    return kinds.get(told.split(" ")[0], "beginning")


def rows(folder: Path, sql: str) -> list[Any]:
    """What the run's file answers, read beside the service that holds it."""
    connection = sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True, timeout=60)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def committed(folder: Path) -> int:
    """Cycles committed so far; the examination before any is none."""
    try:
        return max(rows(folder, "SELECT count(*) FROM loop_cycles")[0][0] - 1, 0)
    except sqlite3.OperationalError:  # it has not begun
        return 0


def look_over(folder: Path, seen: Seen) -> None:
    """Compare what lies in the folder of a service that is gone with what was there before, and with itself."""
    try:
        cycles = rows(folder, "SELECT cycle, champion FROM loop_cycles ORDER BY cycle")
    except sqlite3.OperationalError:
        if seen.adapters:  # the file, or its tables, were there before
            raise
        return
    numbers = [cycle for cycle, _ in cycles]
    done = [cycle for (cycle,) in rows(folder, "SELECT cycle FROM loop_queue WHERE state = 'done' ORDER BY cycle")]
    if numbers != [*range(len(numbers))] or done != numbers[1:]:
        seen.broken.append(f"cycles {numbers}, done {done}")
    for champion in {champion for _, champion in cycles if champion} | set(seen.adapters):
        file = folder / champion / "adapter_model.safetensors"
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "gone"
        if seen.adapters.setdefault(champion, digest) != digest or digest == "gone":
            seen.broken.append(f"{champion}: {digest}")
    lived, stored = come(folder), rows(folder, "SELECT count(*), count(DISTINCT id) FROM episodes WHERE grp = 'life'")
    if stored[0][0] != stored[0][1] or stored[0][0] > sum(lived.values()):
        seen.broken.append(f"episodes {stored}, counted {lived}")
    (sound,) = rows(folder, "PRAGMA integrity_check")[0]
    if sound != "ok":
        seen.broken.append(str(sound))


def come(folder: Path) -> Mapping[str, int]:
    """Lived episodes by regime."""
    told = rows(folder, "SELECT value FROM life_facts WHERE name = 'come'")
    lived: Mapping[str, int] = json.loads(told[0][0])["lived"] if told else {}
    return lived


def reports(folder: Path) -> list[dict[str, Any]]:
    """Of every cycle, in order."""
    told = rows(folder, "SELECT report FROM loop_cycles WHERE cycle > 0 ORDER BY cycle")
    return [json.loads(report) for (report,) in told]


def tell(folder: Path, seen: Seen, stopping: float, code: int) -> None:
    """Print what was lived, learned, killed and broken."""
    report = json.loads((folder / "report.json").read_text())
    told, lived = reports(folder), come(folder)
    print(f"\n{len(told)} cycles of `holdtrue serve weeks`, {machine()}\n")
    for cycle in told:
        print(f"{cycle['cycle']:3} {cycle['task']:11} {cycle['verdict']}")
    print(f"\n{'regime':12}{'first exam':>11}{'last exam':>11}{'lived':>9}{'cycles':>8}{'promoted':>10}")
    for name, first, last in ends(report):
        of_it = [cycle for cycle in told if cycle["task"] == name]
        promoted = sum(cycle["accepted"] for cycle in of_it)
        print(f"{name:12}{first:>11.2f}{last:>11.2f}{lived.get(name, 0):>9,}{len(of_it):>8}{promoted:>10}")
    where = ", ".join(f"{count} in {what}" for what, count in seen.met.most_common())
    print(f"\nkills: {seen.met.total()} ({where}); broken: {seen.broken or 'nothing'}; paused {seen.pauses} times")
    print(f"ended by SIGTERM in {stopping:.1f} s with code {code}")
    longest = max(seen.resident, key=len)
    print(f"resident after each cycle, the longest without a kill, MB: {', '.join(f'{mb:.0f}' for mb in longest)}")
    print(f"forgetting {report['forgetting']:.3f}, average success {report['average_success']:.2f}")


def ends(report: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Each regime with its first and its last exam."""
    columns = zip(*report["scores"], strict=True)
    measured = [[score for score in column if score is not None] for column in columns]
    return [(name, of_it[0], of_it[-1]) for name, of_it in zip(report["tasks"], measured, strict=True) if of_it]


def figures(folder: Path, seen: Seen, stopping: float) -> dict[str, float]:
    """Flat, for a comparison."""
    told = reports(folder)
    return {
        "cycles": len(told),
        "promoted": sum(cycle["accepted"] for cycle in told),
        "kills": seen.met.total(),
        "broken": len(seen.broken),
        "stop_seconds": stopping,
        "resident_mb_max": max((mb for process in seen.resident for mb in process), default=float("nan")),
    }


if __name__ == "__main__":
    main()
