"""`holdtrue ui`: a run in MLflow, on this machine only."""

import contextlib
import json
import os
import socket
import subprocess
from argparse import Namespace
from pathlib import Path

from rich.console import Console

from envs.component import UserError
from schedules.folder import REPORT, latest
from schedules.record import complete
from schedules.tracking import QUIET, TrackingIds, page, ui_command


def main(args: Namespace) -> None:
    """Start MLflow's server and say where the run is seen; Ctrl-C ends it."""
    folder = Path(args.dir) if args.dir else latest()
    complete(folder)
    command = ui_command(folder, args.port)
    require_free(args.port)
    console = Console()
    for line in (
        f"This run in MLflow:  {address(folder, args.port)}",
        "It takes some seconds to start. End it: Ctrl-C.",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        ended = subprocess.run(command, env={**os.environ, **QUIET}).returncode
        if ended:
            raise UserError(f"MLflow's server ended with exit code {ended}; its own message is above.")


def address(folder: Path, port: int) -> str:
    """The page of the run's timeline; the server's front page where no report tells it."""
    path = folder / REPORT
    ids = json.loads(path.read_text())["mlflow"] if path.is_file() else {}
    return page(TrackingIds(**ids), port) if ids else f"http://127.0.0.1:{port}"


def require_free(port: int) -> None:
    """Raise UserError if something listens there already, or no one may."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UserError(f"--port {port} can't be used ({error}). Give another, for example --port 5001.") from error
