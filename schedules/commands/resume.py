"""`holdtrue resume`: go on after a pause."""

from argparse import Namespace

from rich.console import Console

from schedules.commands.remembering import run_folder
from schedules.commands.run import say
from schedules.control import control_of


def main(args: Namespace) -> None:
    """Go on."""
    folder = run_folder(args)
    with control_of(folder) as control:
        was = control.resume()
    say(Console(), f"{folder} goes on." if was else f"{folder} was not paused.")
