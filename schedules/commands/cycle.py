"""`holdtrue cycle now`: make a cycle due; it is run as soon as what was due before it is done."""

from argparse import Namespace
from datetime import UTC, datetime

from rich.console import Console

from schedules.commands.remembering import run_folder
from schedules.commands.run import say
from schedules.config import load_stream
from schedules.control import alive, control_of
from schedules.folder import SETTINGS
from schedules.service import require_task


def main(args: Namespace) -> None:
    """Leave the command, also where nobody serves: then it is heard at the next start.

    Raises:
        UserError: `--task` is no regime of the stream.
    """
    folder = run_folder(args)
    require_task(args.task or "", list(load_stream(str(folder / SETTINGS)).regimes))
    with control_of(folder) as control:
        control.say("cycle", args.task or "", datetime.now(UTC))
        beat = control.last_beat()
    later = "" if alive(beat) else f" Nobody serves it now; begin with:  holdtrue serve --dir {folder}"
    say(Console(), f"A cycle is due in {folder}.{later}")
