"""`holdtrue rollback`: the adapter before is champion again."""

from argparse import Namespace

from rich.console import Console

from memory.database import Database
from schedules.checkpoint import Ledger
from schedules.commands.remembering import run_folder, say
from schedules.folder import DATABASE, finished
from schedules.record import catch_up
from schedules.rollback import roll_back


def main(args: Namespace) -> None:
    """Go back, tell MLflow and the report, and say what holds now."""
    console = Console()
    folder = run_folder(args)
    with Database(folder / DATABASE, durability="full") as database:
        ledger = Ledger(database)
        entry = roll_back(ledger, folder, args.to)
        command = "holdtrue serve" if ledger.fact("command") == "serve" else "holdtrue run --resume"
        say(console, f"{entry.report['verdict'][0].upper()}{entry.report['verdict'][1:]}.")
        if told := catch_up(database, folder):
            say(console, told)
    for line in following(entry.report["after"]):
        say(console, line)
    if not finished(folder):
        say(console, f"A run goes on from it:  {command} --dir {folder}")


def following(scores: dict[str, float]) -> list[str]:
    """The scores that hold again."""
    return [f"  {task:<16} {score:.2f}" for task, score in scores.items()]
