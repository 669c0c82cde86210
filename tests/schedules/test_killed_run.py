"""Resume equals never stopped: `kill -9` at any moment, and report, adapters and memory end bit for bit the same.

What may differ: seconds, the time of day, where MLflow and the folder lie, the order in which SQLite's free pages are
used again (`bytes`), and the name that a store draws for itself. Numbers that SQLite gives stand here for their order:
what a killed cycle had played is dropped, and no number is given twice, so that the index can't take one for another.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from streams import small_stream, write_stream

from memory.images import unpack_numbers
from memory.schema import STEP_BITS

TIMED = {"seconds", "bytes", "time_ms", "mlflow"}
"""Keys of a report or record that a second run of the same stream would not repeat either."""


def test_killed_at_random_moments_it_ends_as_if_never_stopped(
    tiny_folder: Path, tmp_path: Path, migrated: Path
) -> None:
    killed, whole = lived_through(tiny_folder, tmp_path, migrated, kills=2, seed=0)
    assert killed == whole


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 9))
def test_killed_over_and_over_it_ends_as_if_never_stopped(
    tiny_folder: Path, tmp_path: Path, migrated: Path, seed: int
) -> None:
    killed, whole = lived_through(tiny_folder, tmp_path, migrated, kills=12, seed=seed)
    assert killed == whole


def lived_through(
    model: Path, folder: Path, migrated: Path, kills: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run that is killed leaves, and one in peace; the moments are spread over the seconds that it worked."""
    stream = write_stream(folder / "small.yaml", small_stream(model))
    whole, killed = (prepared(folder / name, migrated) for name in ("whole", "killed"))
    assert start(stream, whole).wait() == 0
    working = json.loads((whole / "report.json").read_text())["seconds"]
    rng = random.Random(seed)
    survived = sum(not kill_within(start(stream, killed), killed, rng.uniform(0, working)) for _ in range(kills))
    assert survived < kills, "no kill met a working run"
    if not (killed / "finished").exists():
        assert start(stream, killed).wait() == 0
    return state(killed), state(whole)


def prepared(folder: Path, migrated: Path) -> Path:
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    return folder


def start(stream: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A process that runs the stream, or goes on with it."""
    resume = ["--resume"] if (folder / "run.db").exists() else []
    command = [sys.executable, "-m", "schedules.cli", "run", str(stream), "--dir", str(folder), *resume]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill_within(process: subprocess.Popen[bytes], folder: Path, seconds: float) -> bool:
    """Kill it that long after it began to write; False if it had come to its end before."""
    before = touched(folder)
    while touched(folder) == before and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def touched(folder: Path) -> int:
    """When the run's database or its log was last written to; 0 before there is one."""
    files = [folder / name for name in ("run.db", "run.db-wal")]
    return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)


def state(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves and a second one would repeat, as digests that name what differs."""
    adapters = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((folder / "adapters").rglob("*"))
        if file.is_file()
    }
    return {"report": lasting(json.loads((folder / "report.json").read_text())), "adapters": adapters} | tables(folder)


def tables(folder: Path) -> dict[str, list[str]]:
    """Every row of the run's database, but for the name of the store and what the index has followed."""
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as database:
        database.row_factory = sqlite3.Row
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}
    rows["facts"] = [row for row in rows["facts"] if row["name"] != "store"]
    del rows["changes"], rows["sqlite_sequence"]
    orders = {
        name: {number: place for place, number in enumerate(sorted(r["number"] for r in rows[name]))}
        for name in ("episodes", "pictures")
    }
    return {name: sorted(repr(row_of(name, dict(row), orders)) for row in some) for name, some in rows.items()}


def row_of(table: str, row: dict[str, Any], orders: dict[str, dict[int, int]]) -> dict[str, Any]:
    """A row with places in order in place of numbers, and the timed parts of what is JSON left out."""
    episodes, pictures = orders["episodes"], orders["pictures"]
    if table == "steps":
        row["number"] = (episodes[row["number"] >> STEP_BITS], row["number"] % (1 << STEP_BITS))
    elif table == "vectors":
        row["episode"] = episodes[row["episode"]]
    elif table in ("pictures", "picture_data"):
        row["number"] = pictures[row["number"]]
    elif table in ("episodes", "drawn", "pairs", "judgements"):
        del row["number"]
    for name in ("pictures", "final_pictures"):
        if isinstance(row.get(name), bytes):
            row[name] = [pictures[number] for number in unpack_numbers(row[name])]
    return {name: lasting(read(cell)) for name, cell in row.items()}


def read(cell: Any) -> Any:
    """What a cell holds if it is JSON, else the cell."""
    try:
        return json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        return cell


def lasting(told: Any) -> Any:
    """JSON without what is timed."""
    if isinstance(told, dict):
        return {key: lasting(value) for key, value in told.items() if key not in TIMED}
    return [lasting(item) for item in told] if isinstance(told, list) else told
