"""The memory at the size of weeks: storing, opening, drawing, searching, and whether a cycle feels it.

    python -m benchmarks.memory [--json FILE] [--quick]

The store on one thread, the cycle on two; the search over a million vectors in a process of its own on one
(`benchmarks.memory_search`).
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.memory_growth import growth
from benchmarks.memory_search import search_figures
from benchmarks.memory_store import filled, used
from benchmarks.runs import arguments, finish, machine


def main() -> None:
    """Measure, print the table, write the figures."""
    given = arguments(__doc__ or "")
    count, rounds = (2000, 5) if given.quick else (100_000, 25)
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}; median (quartiles)\n")
    figures: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=given.dir.parent if given.dir.parent.is_dir() else None) as folder:
        store = Path(folder) / "run.db"
        figures |= filled(store, count)
        figures |= used(store, count, rounds)
        figures |= growth(Path(folder), 100, count, 3 if given.quick else 9)
    figures |= search_figures(*((300_000, 200) if given.quick else (1_000_000, 1000)))
    finish(figures, given.json)


if __name__ == "__main__":
    main()
