"""`holdtrue memory verify`: is all of it there, and right? What isn't is said, with what to do."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from memory.database import FORMAT, DamagedError
from memory.repair import repair
from memory.verify import Health, verify
from schedules.commands.remembering import Run, opened, run_folder, say
from schedules.folder import DATABASE

MOST = 20  # of a kind, said one by one


def main(args: Namespace) -> int:
    """Print the findings; 1 if anything is wrong and stays so."""
    console = Console()
    folder = run_folder(args)
    try:
        with opened(args) as run:
            return look(run, args.repair, console)
    except DamagedError as error:
        return tell_file(console, folder, [str(error)])


def look(run: Run, mend: bool, console: Console) -> int:
    """Verify, and mend if that is wanted."""
    health = verify(run.parts)
    if health.file:
        return tell_file(console, run.folder, health.file)
    tell(console, run, health)
    if health.sound:
        return 0
    if not mend:
        say(console, remedy(run.folder, health))
        return 1
    for gone in repair(run.parts, health):
        say(console, f"removed: {gone}")
    after = verify(run.parts)
    tell(console, run, after)
    return 0 if after.sound else 1


def tell(console: Console, run: Run, health: Health) -> None:
    """The findings, or that there are none."""
    looked = ", ".join(f"{count:,} {what}" for what, count in health.looked_at.items())
    if health.sound:
        say(console, f"{run.folder} is sound: {looked} and the vector index say the same.")
        return
    say(console, f"{run.folder} is damaged ({looked} were looked at):")
    names = run.parts.episodes.ids(list(health.episodes))
    found = [f"episode {names[number]}: {why}" for number, why in sorted(health.episodes.items())]
    for lines in (found, [f"pair {number}: {why}" for number, why in sorted(health.pairs.items())]):
        for line in lines[:MOST]:
            say(console, f"  {line}")
        if len(lines) > MOST:
            say(console, f"  ... and {len(lines) - MOST:,} more")
    for line in (*health.loose, *health.index, *health.rest):
        say(console, f"  {line}")


def remedy(folder: Path, health: Health) -> str:
    """What to do about it."""
    if health.rest:
        return f"What mixes embedders can't be mended: restore {folder / DATABASE} from a copy."
    gone = [
        f"{len(found):,} {what}" for what, found in (("episodes", health.episodes), ("pairs", health.pairs)) if found
    ]
    loss = (
        f"removes {' and '.join(gone)} for good (or restore {folder / DATABASE} from a copy)"
        if gone
        else "loses nothing"
    )
    return f"Mend it: holdtrue memory verify --repair --dir {folder}\nThat {loss}."


def tell_file(console: Console, folder: Path, told: list[str]) -> int:
    """SQLite itself can't read the file: nothing is touched, and nothing in it is believed."""
    path, damaged = folder / DATABASE, folder / "damaged.db"
    say(console, f"{path} is damaged as a whole:")
    for line in told:
        say(console, f"  {line}")
    say(
        console,
        "Restore it from a copy. Without one, SQLite's own tool saves what can be read:\n"
        f"  mv {path} {damaged} && rm -f {path}-* {path}.index\n"
        f"  sqlite3 {damaged} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 {path}\n"
        f"  sqlite3 {path} 'PRAGMA user_version = {FORMAT}'\n"
        f"  holdtrue memory verify --repair --dir {folder}",
    )
    return 1
