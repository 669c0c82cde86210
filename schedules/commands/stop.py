"""`holdtrue stop`: end the service. A cycle that is running is given up; it stays due, and what was lived stays."""

from argparse import Namespace
from datetime import UTC, datetime

from rich.console import Console

from envs.component import UserError
from schedules.commands.remembering import run_folder
from schedules.commands.run import say
from schedules.control import alive, control_of


def main(args: Namespace) -> None:
    """Leave the command.

    Raises:
        UserError: nobody serves there.
    """
    folder = run_folder(args)
    with control_of(folder) as control:
        if not alive(control.last_beat()):
            raise UserError(
                f"nobody serves {folder}: there is nothing to stop. Begin with:  holdtrue serve --dir {folder}"
            )
        control.say("stop", "", datetime.now(UTC))
    say(Console(), f"{folder} stops. Go on with:  holdtrue serve --dir {folder}")
