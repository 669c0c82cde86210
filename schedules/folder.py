"""The folder of a run: which one, and whether it may be used."""

from pathlib import Path

from envs.component import UserError
from memory.database import Database

RUNS = Path("runs")
DATABASE = "run.db"
REPORT = "report.json"
SETTINGS = "stream.yaml"
FINISHED = "finished"


def choose_folder(stream: str, given: str | None, resume: bool) -> Path:
    """The folder a run of `stream` uses: the given one, or `runs/STREAM`, `runs/STREAM-2`, ...

    Raises:
        UserError: an existing run would be overwritten, or there is none to resume.
    """
    if given is not None:
        folder = Path(given)
        taken = (folder / DATABASE).exists()
        if taken and not resume:
            raise UserError(f"{folder} holds a run already. Add --resume to go on with it, or give another --dir.")
        if resume and not taken:
            raise UserError(f"{folder} holds no run to resume. Leave --resume out to start one there.")
        return folder
    runs = existing(stream)
    unfinished = [run for run in runs if not finished(run)]
    if resume:
        if not runs:
            raise UserError(f"there is no run of '{stream}' under {RUNS}/ to resume. Leave --resume out to start one.")
        return [*runs, *unfinished][-1]
    free = RUNS / stream
    number = 1
    while (free / DATABASE).exists():
        number += 1
        free = RUNS / f"{stream}-{number}"
    if unfinished:
        raise UserError(
            f"{unfinished[-1]} holds an unfinished run of '{stream}'. "
            f"Go on with it by adding: --resume --dir {unfinished[-1]}\n"
            f"Or start afresh by adding: --dir {free}"
        )
    return free


def existing(stream: str) -> list[Path]:
    """Folders of earlier runs of a stream, oldest first."""
    numbered = [p for p in RUNS.glob(f"{stream}-*") if p.name.removeprefix(f"{stream}-").isdecimal()]
    folders = [RUNS / stream, *sorted(numbered, key=lambda p: int(p.name.removeprefix(f"{stream}-")))]
    return [folder for folder in folders if (folder / DATABASE).exists()]


def finished(folder: Path) -> bool:
    """Whether the run in a folder came to its end."""
    return (folder / FINISHED).exists()


def latest() -> Path:
    """The folder that was written to last.

    Raises:
        UserError: there is no run yet.
    """
    runs = sorted((p.parent for p in RUNS.glob(f"*/{DATABASE}")), key=lambda p: (p / DATABASE).stat().st_mtime)
    if not runs:
        raise UserError(f"there is no run under {RUNS}/ yet. Start one: holdtrue run default")
    return runs[-1]


def require_run(folder: Path) -> Path:
    """`folder`, if a run lies there.

    Raises:
        UserError: none does.
    """
    if not (folder / DATABASE).exists():
        raise UserError(f"{folder} holds no run. Give a run's folder, or begin one: holdtrue run default")
    return folder


def undo_start(folder: Path) -> None:
    """Take away what a run that could not begin has left, so that the mended one can begin here."""
    try:
        database = Database(folder / DATABASE)
    except UserError:  # another run has just begun here, or nothing can be written: nothing of ours is there
        return
    with database:
        for file in [*folder.glob(f"{DATABASE}*"), folder / SETTINGS]:
            file.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
