"""`holdtrue serve`: live in a stream's worlds, and run cycles when they are due, until it is told to stop."""

import shlex
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from envs.component import UserError
from schedules.commands.opening import stream_of
from schedules.commands.run import intention, opened, say, write_settings
from schedules.config import StreamSettings
from schedules.control import Control
from schedules.folder import RUNS
from schedules.progress import for_console
from schedules.record import story_of
from schedules.served import ServedLoop
from schedules.service import Service, watching_the_clock
from schedules.stopping import ASKED, Abandoned, on_signals


def main(args: Namespace) -> None:
    """Serve, from the start or from where it stopped."""
    console = Console()
    stream = stream_of(args)
    if stream.memory.examples:
        raise UserError(
            f"memory.examples is {stream.memory.examples}: what is lived is asked without examples, so the champion "
            "would not be the one that sat the exam. Set memory.examples to 0 to serve."
        )
    folder = Path(args.dir) if args.dir is not None else RUNS / stream.stream
    serve(stream, folder, console)


def serve(stream: StreamSettings, folder: Path, console: Console) -> None:
    """Serve `stream` in `folder` until a signal or a command."""
    progress = for_console(console)
    loop = opened(stream, folder, progress, ServedLoop)
    control = None
    try:
        write_settings(stream, folder)
        control = Control(folder)
        service = Service(loop, control)
        say(console, intention(loop))
        say(console, f"Say something to it from another terminal:  holdtrue status --dir {shlex.quote(str(folder))}")
        with suppress(Abandoned), on_signals(service.stop):
            with suppress(Abandoned), watching_the_clock(loop), progress:  # a second signal may come while it unwinds
                service.serve()
            end_timeline(loop, service, console)
        say(console, f"Stopped by {service.stopping}; what was committed and lived is kept.")
    finally:
        if control is not None:
            control.farewell()
            control.close()
        if loop.life is not None:
            loop.life.close()
        loop.close()


def end_timeline(loop: ServedLoop, service: Service, console: Console) -> None:
    """Draw the last figures; MLflow says `FINISHED` where a person asked for the end, and `KILLED` after a signal.

    Where patience ended while MLflow was told of a cycle, it isn't asked once more: others are not patient for ever.
    """
    if loop.tracker.ids is None or loop.tracker.telling:
        return
    status = "FINISHED" if service.stopping == ASKED else "KILLED"
    trouble = loop.tracker.finish(status, story_of(loop.ledger, loop.stream))
    if trouble:
        say(console, trouble)
