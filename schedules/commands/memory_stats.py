"""`holdtrue memory stats`: how much is remembered, of what."""

from argparse import Namespace

from rich.console import Console

from memory.overview import Overview, Stratum, overview
from schedules.commands.remembering import counted, opened, say, sized
from schedules.commands.tables import rows, table

STRATA = ("task", "outcome", "episodes", "steps", "cycles", "rehearsed", "never")
INDEX = {
    "missing": "none yet: the next search makes it",
    "sound": "sound",
    "doubtful": "doubtful: the next search makes it anew",
}


def main(args: Namespace) -> None:
    """Print two tables."""
    with opened(args) as run:
        seen = overview(run.parts)
        capacity = (run.ledger.fact("stream") or {}).get("memory", {}).get("capacity")
        folder = run.folder
    console = Console()
    say(console, f"What {folder} remembers", "bold")
    console.print(rows(facts(seen, capacity)))
    if seen.strata:
        console.print(table(STRATA, map(stratum_row, seen.strata), right=STRATA[2:]))


def facts(seen: Overview, capacity: int | None) -> list[tuple[str, str]]:
    """The whole, a line each."""
    episodes = sum(stratum.episodes for stratum in seen.strata)
    steps = sum(stratum.steps for stratum in seen.strata)
    room = "" if capacity is None else f" of at most {capacity:,}"
    parts = f"pictures {sized(seen.picture_bytes)}, vectors {sized(seen.vector_bytes)}, rest {sized(seen.other_bytes)}"
    return [
        ("episodes", f"{episodes:,}{room}, {steps:,} steps"),
        ("pictures", f"{seen.pictures:,} different ones"),
        ("pairs", counted(seen.pairs)),
        ("judgements", counted(seen.judgements)),
        ("drawn", counted(seen.drawn)),
        ("size", f"{sized(seen.picture_bytes + seen.vector_bytes + seen.other_bytes)}: {parts}"),
        ("embedder", f"{seen.embedder}, {seen.dimension} numbers a step"),
        ("index", f"{INDEX[seen.index]}, {sized(seen.index_bytes)}" if seen.index_bytes else INDEX[seen.index]),
    ]


def stratum_row(stratum: Stratum) -> tuple[str, ...]:
    """One row of the strata."""
    cycles = str(stratum.first) if stratum.first == stratum.last else f"{stratum.first}-{stratum.last}"
    return (
        stratum.task,
        "success" if stratum.success else "failure",
        f"{stratum.episodes:,}",
        f"{stratum.steps:,}",
        cycles,
        f"{stratum.uses:,}",
        f"{stratum.unused:,}",
    )
