"""What the actions of `holdtrue memory` begin with: which run, and its memory without a model."""

from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from memory.database import Database
from memory.parts import Parts, open_parts
from schedules.checkpoint import Ledger
from schedules.folder import DATABASE, latest, require_run


@dataclass(frozen=True, slots=True)
class Run:
    """A run whose store is open."""

    folder: Path
    ledger: Ledger
    parts: Parts


def run_folder(args: Namespace) -> Path:
    """The run in `--dir`, or the latest one.

    Raises:
        UserError: there is none.
    """
    return require_run(Path(args.dir)) if args.dir else latest()


@contextmanager
def opened(args: Namespace) -> Iterator[Run]:
    """The run and its memory; nobody else may use it meanwhile.

    Raises:
        UserError: there is no run, it is going on right now, or a newer holdtrue wrote it.
    """
    folder = run_folder(args)
    with Database(folder / DATABASE) as database:
        yield Run(folder, Ledger(database), open_parts(database))


def say(console: Console, line: str, style: str = "") -> None:
    """One line of words, however long."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def in_words(cycles: Iterable[int]) -> str:
    """`cycle 3`, `cycles 1, 2, 4`."""
    numbers = [str(cycle) for cycle in sorted(set(cycles))]
    return f"cycle{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def counted(counts: dict[str, int]) -> str:
    """`3 (2 of a, 1 of b)`; `none` where there is nothing."""
    if not counts:
        return "none"
    return f"{sum(counts.values()):,} ({', '.join(f'{count:,} of {name}' for name, count in counts.items())})"


def sized(number: int) -> str:
    """Bytes as a person reads them."""
    size = float(number)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
