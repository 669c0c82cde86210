"""The nearest 10 of a million vectors: as near as they should be, how fast, in how much RAM, and how soon built.

    python -m benchmarks.memory_search [--json FILE] [--quick]

The index that the memory uses, in a process of its own on one thread. Vectors come from a file in parts, as they do
from SQLite; a tenth is deleted; truth is every vector compared. RAM is how far the process grew beyond its imports: at
its peak, from the first vector to the last answer.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.embeddings import DIMENSION, Material, peak_resident, resident
from benchmarks.runs import arguments, finish, machine
from memory.index import FaissIndex

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ROWS = {
    "search_p50_ms": ("milliseconds a query, median", "<= 2"),
    "search_p99_ms": ("milliseconds a query, 99th percentile", "<= 10"),
    "search_recall_at_10": ("recall at 10 against exact search", ">= 0.95"),
    "search_resident_gb": ("gigabytes resident, at the peak", "<= 1.2"),
    "search_build_seconds": ("seconds to build", "<= 900"),
    "search_remove_seconds": ("seconds to remove a tenth of all, at once", ""),
    "search_save_seconds": ("seconds to write the file (not synced)", ""),
    "search_load_seconds": ("seconds to read the file", ""),
}


def main() -> None:
    """Measure, print the table, write the figures."""
    given = arguments(__doc__ or "")
    count, queries = (300_000, 200) if given.quick else (1_000_000, 1000)
    print(f"nearest 10 of {count} vectors of {DIMENSION}, {queries} queries, one thread")
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}\n")
    figures = search_figures(count, queries)
    for key, (what, bar) in ROWS.items():
        print(f"{what:48}{figures[key]:>12.4f}   {bar}")
    finish(figures, given.json)


def search_figures(count: int, queries: int) -> dict[str, float]:
    """The figures of `ROWS`, measured in a process of its own; about two minutes and 1.5 GB of disk for a million."""
    with tempfile.TemporaryDirectory() as folder:
        Material(Path(folder), count).make(queries)
        return in_process("benchmarks.memory_search", "measured", folder, count)


def in_process(module: str, name: str, *values: str | int) -> dict[str, float]:
    """What a function of a benchmark returns in a fresh process on one thread."""
    code = f"import json; from {module} import {name}; print(json.dumps({name}{values!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measured(folder: str, count: int) -> dict[str, float]:
    """Build, remove and search, then write and read."""
    material = Material(Path(folder), count)
    gone = np.flatnonzero(~material.kept())
    before = resident()
    began = time.perf_counter()
    index = FaissIndex.build(DIMENSION, count, material.parts)
    built = time.perf_counter()
    index.remove(gone)
    removed = time.perf_counter()
    found = material.measure(index.search)
    grown = peak_resident() - before
    path = material.folder / "index"
    saving = time.perf_counter()
    with open(path, "wb") as file:
        index.write(file)
    del index
    saved = time.perf_counter()
    with open(path, "rb") as file:
        FaissIndex.read(file)
    return {f"search_{key}": value for key, value in found.items()} | {
        "search_resident_gb": grown,
        "search_build_seconds": built - began,
        "search_remove_seconds": removed - built,
        "search_save_seconds": saved - saving,
        "search_load_seconds": time.perf_counter() - saved,
    }


if __name__ == "__main__":
    main()
