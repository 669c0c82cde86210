"""kill -9 at random moments of a running service: what was promoted stays whole, no cycle is run twice, it goes on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from serving import GRPO, living_stream, prepared, rows
from streams import write_stream

from schedules.control import control_of

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds for a process to begin living: imports take most of it, on a busy machine."""


def service(stream: Path, folder: Path) -> "subprocess.Popen[bytes]":
    """The command itself, in a process of its own."""
    command = [sys.executable, "-m", "schedules.cli", "serve", str(stream), "--dir", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def wait_until(process: "subprocess.Popen[bytes]", holds: Any) -> None:
    """Until something holds; the process must not end before."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, "the service ended by itself"
        assert time.monotonic() < end, "the service does not begin"
        time.sleep(0.02)


def beats(folder: Path, process: "subprocess.Popen[bytes]") -> bool:
    with control_of(folder) as control:
        return control.last_beat().get("pid") == process.pid


def sound(folder: Path, adapters: dict[str, str]) -> int:
    """Check what lies in the folder of a service that is gone; how many cycles it committed.

    Args:
        adapters: hashes of promoted adapters, by folder: those that were there stay as they were; new ones are added.
    """
    cycles = rows(folder, "SELECT cycle, champion FROM loop_cycles ORDER BY cycle")
    numbers = [cycle for cycle, _ in cycles]
    assert numbers == [*range(len(numbers))]
    done = rows(folder, "SELECT cycle FROM loop_queue WHERE state = 'done' ORDER BY cycle")
    assert [cycle for (cycle,) in done] == numbers[1:], "each committed cycle was due once, and done with its commit"
    for _, champion in cycles:
        if champion:
            file = folder / champion / "adapter_model.safetensors"
            assert all(np.isfinite(tensor).all() for tensor in load_file(file).values())
            assert json.loads((folder / champion / "holdtrue.json").read_text())["version"]
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert adapters.setdefault(champion, digest) == digest
    assert all((folder / champion).is_dir() for champion in adapters)
    come = rows(folder, "SELECT value FROM life_facts WHERE name = 'come'")
    total = sum(json.loads(come[0][0])["lived"].values()) if come else 0
    assert rows(folder, "SELECT count(*) FROM episodes WHERE grp = 'life'") == [(total,)]
    return len(numbers) - 1


def killed(model: Path, migrated: Path, folder: Path, kills: int) -> tuple[int, int]:
    """Serve, kill, look, and again; then end it as one should, within 30 seconds.

    Returns:
        How many cycles were promoted under kills, and how many were committed in the end.
    """
    trigger = {"when": {"type": "episodes", "count": 16}, "task": "renamed", "update": {**GRPO, "rounds": 1}}
    settings = living_stream(model, triggers=[trigger]).model_dump(mode="json")
    stream = write_stream(folder.parent / "small.yaml", settings)
    prepared(folder, migrated)
    rng, adapters = np.random.default_rng(0), dict[str, str]()
    for _ in range(kills):
        process = service(stream, folder)
        try:
            wait_until(process, lambda process=process: beats(folder, process))
            time.sleep(float(rng.uniform(0, 3)))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        before = len(rows(folder, "SELECT 1 FROM loop_cycles"))
        sound(folder, adapters) if before else None
    process = service(stream, folder)
    done = len(adapters)
    wait_until(process, lambda: beats(folder, process))
    wait_until(process, lambda: len(rows(folder, "SELECT 1 FROM loop_cycles")) > done + 2)
    process.terminate()
    assert process.wait(timeout=30) == 0
    return done, sound(folder, adapters)


def test_killed_at_a_few_moments(tiny_folder: Path, migrated: Path, tmp_path: Path) -> None:
    promoted, committed = killed(tiny_folder, migrated, tmp_path / "run", 2)
    assert committed >= promoted + 1


@pytest.mark.soak
def test_killed_at_a_hundred_moments(tiny_folder: Path, migrated: Path, tmp_path: Path) -> None:
    promoted, committed = killed(tiny_folder, migrated, tmp_path / "run", 100)
    assert committed >= promoted + 1
