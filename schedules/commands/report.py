"""`holdtrue report`: how a run ended, once more."""

import json
from argparse import Namespace
from pathlib import Path

from rich.console import Console

from envs.component import UserError
from schedules.folder import REPORT, latest, require_run
from schedules.record import complete
from schedules.report import summary_table


def main(args: Namespace) -> None:
    """Print the table that the run printed at its end, of all that is committed."""
    folder = require_run(Path(args.dir)) if args.dir else latest()
    complete(folder)
    path = folder / REPORT
    if not path.is_file():
        raise UserError(f"{folder} has no {REPORT} yet: its first examination is not over. Go on with --resume.")
    Console().print(summary_table(json.loads(path.read_text()), folder))
