"""`holdtrue memory export`: the memory as files others read."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from memory.export import export
from schedules.commands.remembering import opened, say


def main(args: Namespace) -> None:
    """Write the folder, and say how it is read."""
    target = Path(args.target)
    with opened(args) as run:
        written = export(run.parts, target)
    console = Console()
    say(console, f"Written to {target}: {', '.join(f'{count:,} {what}' for what, count in written.items())}.")
    if written["pairs"]:
        say(console, f'Read the pairs:  datasets.load_dataset("{target / "pairs"}", split="train")')
