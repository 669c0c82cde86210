"""`holdtrue run`: a stream's cycles, from its start or from where it stopped."""

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from envs.check import check_world
from envs.component import UserError
from schedules.beside import note_beside
from schedules.commands.opening import spelled, stream_of
from schedules.config import BUNDLED, StreamSettings, as_yaml, find_stream
from schedules.cycle import run_stream
from schedules.folder import DATABASE, FINISHED, REPORT, SETTINGS, choose_folder, finished, undo_start
from schedules.loop import Loop
from schedules.progress import Progress, for_console
from schedules.record import complete
from schedules.report import summary_table
from schedules.variants import worlds_of

L = TypeVar("L", bound=Loop)


def main(args: Namespace) -> None:
    """Run, or say that there is nothing left to run."""
    console = Console()
    stream = stream_of(args)
    folder = choose_folder(stream.stream, args.dir, args.resume)
    if args.resume and finished(folder):
        say(console, f"{folder} holds a finished run: there is nothing to resume.")
        complete(folder)
    else:
        go(stream, spelled(args), folder, console, resume_command(args, folder))
    console.print(summary_table(json.loads((folder / REPORT).read_text()), folder))


def go(stream: StreamSettings, file: str, folder: Path, console: Console, resume: str) -> None:
    """Run what is left of `stream`, which was read from `file`, in `folder`."""
    progress = for_console(console)
    loop = opened(stream, folder, progress, Loop)
    try:
        note_beside(loop.ledger, file, folder)
        say(console, intention(loop))
        if about := stream.about.strip():
            console.print(about, markup=False, highlight=False)
        with progress:
            left = loop.next_plan <= len(stream.cycles)
            run_stream(loop)
            if not left:  # it was stopped after its last commit
                loop.tell()
        if loop.tracker.ids is not None and (trouble := loop.tracker.finish()):
            say(console, trouble)
    except KeyboardInterrupt:
        say(console, f"Stopped; what was committed is kept. Go on with:  {resume}")
        if loop.tracker.ids is not None:
            loop.tracker.finish("KILLED")
        raise
    finally:
        loop.close()
    (folder / FINISHED).touch()


def opened(stream: StreamSettings, folder: Path, progress: Progress, kind: type[L]) -> L:
    """A loop. A new run's worlds are proven before it; where it can't begin, its folder is left as it was."""
    if (folder / DATABASE).exists():
        return kind(stream, folder, progress)
    check_enough(stream)
    for world in worlds_of(stream).values():
        check_world(world, episodes=2)
    try:
        loop = kind(stream, folder, progress)
    except BaseException:
        undo_start(folder)
        raise
    write_settings(stream, folder)
    return loop


def check_enough(stream: StreamSettings) -> None:
    """Make sure that an exam can carry a verdict.

    Raises:
        UserError: every candidate would be refused.
    """
    episodes, least = stream.exam.episodes, stream.gate.min_exam
    if stream.gate.on and episodes < least:
        raise UserError(
            f"exam.episodes is {episodes} and gate.min_exam is {least}: every candidate would be refused for it. Set "
            f"exam.episodes to {least} or more, or gate.min_exam to {episodes}: fewer seeds see less."
        )


def write_settings(stream: StreamSettings, folder: Path) -> None:
    """The effective settings, for people and for later commands on this run."""
    aside = folder / f"{SETTINGS}.tmp"
    aside.write_text(f"# What this run was started with, every default filled in.\n{as_yaml(stream)}")
    aside.replace(folder / SETTINGS)


def intention(loop: Loop) -> str:
    """What will happen, in one line."""
    trainable = sum(parameter.numel() for parameter in loop.policy.parameters())
    model, planned = (
        loop.stream.model.path,
        f"{loop.planned} planned cycles" if loop.planned else "cycles as they are due",
    )
    threads = f"{loop.policy.threads} thread{'s' if loop.policy.threads > 1 else ''}"
    done = f", {loop.next_plan - 1} of them done" if loop.next_plan > 1 else ""
    return (
        f"Stream {loop.stream.stream} (seed {loop.stream.seed}) in {loop.folder}: model {model}, "
        f"{trainable:,} trainable parameters, {threads}, {planned}{done}."
    )


def resume_command(args: Namespace, folder: Path) -> str:
    """The command that goes on with this run. A stream of the user's is named: its modules lie beside it."""
    bundled = find_stream(spelled(args)).parent in (BUNDLED, folder.resolve())
    overrides = [] if bundled else [part for override in args.set for part in ("--set", override)]
    named = [] if bundled else [args.stream, *overrides]
    return shlex.join(["holdtrue", "run", *named, "--resume", "--dir", str(folder)])


def say(console: Console, line: str) -> None:
    """One line of words, however long."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
