"""`holdtrue pause`: nothing is lived and no cycle begins until `resume`; one that is running comes to its end."""

from argparse import Namespace

from rich.console import Console

from schedules.commands.remembering import run_folder
from schedules.commands.run import say
from schedules.control import control_of


def main(args: Namespace) -> None:
    """Pause it."""
    folder = run_folder(args)
    with control_of(folder) as control:
        control.pause("a person paused it")
    say(Console(), f"{folder} is paused. What is due waits. Go on with:  holdtrue resume --dir {folder}")
