"""`holdtrue memory forget`: first what would go; with `--yes` it goes, for good."""

import shlex
from argparse import Namespace
from collections.abc import Sequence

from rich.console import Console

from envs.component import UserError
from memory.forgetting import Going, Wanted, forget, going
from schedules.checkpoint import Committed
from schedules.commands.remembering import counted, opened, say
from schedules.folder import DATABASE
from schedules.learned import Learners, learners, trained

MOST = 10  # ids said one by one


def main(args: Namespace) -> None:
    """List what is wanted, and remove it if that is confirmed."""
    wanted = Wanted(args.task, args.source, args.before, args.id)
    if wanted == Wanted():
        raise UserError(
            "say what to forget: --task NAME, --source NAME, --before CYCLE or --id ID, or several of them."
        )
    console = Console()
    with opened(args) as run:
        what = going(run.parts, wanted)
        learned = learners(run.ledger.cycles(), taught(what, wanted, run.ledger.cycles()))
        if args.yes:
            forget(run.parts, what)
        folder = run.folder
    tell(console, what, done=args.yes)
    tell_learners(console, learned)
    if args.yes:
        say(console, f"{folder / DATABASE} is written anew without it; no copy you made elsewhere is.")
    elif not what.nothing:
        say(console, f"Nothing is removed yet. Do it, for good:\n  {command(wanted, str(folder))}")


def taught(what: Going, wanted: Wanted, cycles: Sequence[Committed]) -> set[int]:
    """Cycles that learned from it; of a whole task or time, also from episodes that were evicted since."""
    whole = wanted.id is None and wanted.source is None
    return set(what.taught) | (trained(cycles, wanted.task, wanted.before) if whole else set())


def tell(console: Console, what: Going, done: bool) -> None:
    """What goes or went."""
    if what.nothing:
        say(console, "Nothing in memory is of that kind.")
        return
    say(console, "Forgotten:" if done else "This would be forgotten:", "bold")
    pairs, judgements = what.sources
    say(console, f"  episodes    {counted(what.tasks)}")
    for name in what.names[:MOST]:
        say(console, f"    {name}")
    if len(what.names) > MOST:
        say(console, f"    ... and {len(what.names) - MOST:,} more")
    say(console, f"  pairs       {counted(pairs)}")
    say(console, f"  judgements  {counted(judgements)}")
    say(console, f"  pictures    {what.pictures:,} that nothing else shows")
    if pairs or judgements:
        say(console, "Cycles to come ask the annotator anew: take a person's lines out of its file as well.")


def tell_learners(console: Console, learned: Learners) -> None:
    """Adapters are not touched: what they learned stays in them."""
    if not learned.direct:
        say(console, "No adapter learned from it.")
        return
    say(console, f"Adapters that learned from it: {', '.join(learned.direct)}.")
    if learned.descended:
        say(console, f"Adapters that go on from these: {', '.join(learned.descended)}.")
    say(console, "They keep what they learned: go back to one before them, or run the stream again without it.")


def command(wanted: Wanted, folder: str) -> str:
    """The same command, with `--yes`."""
    said = {"--task": wanted.task, "--source": wanted.source, "--before": wanted.before, "--id": wanted.id}
    parts = [word for option, value in said.items() if value is not None for word in (option, str(value))]
    return shlex.join(["holdtrue", "memory", "forget", *parts, "--dir", folder, "--yes"])
