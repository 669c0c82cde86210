"""`holdtrue memory rebuild`: the vector index anew from SQLite."""

from argparse import Namespace

from rich.console import Console

from memory.repair import rebuild
from schedules.commands.remembering import opened, say


def main(args: Namespace) -> None:
    """Make it, and say how large it is."""
    with opened(args) as run:
        rebuild(run.parts)
        found = len(run.parts.vectors)
    say(Console(), f"The index of {run.folder} is made anew: {found:,} steps can be found.")
