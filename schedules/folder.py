"""The folder of a run: which one, and whether it may be used."""

from pathlib import Path

from envs.component import UserError

RUNS = Path("runs")
DATABASE = "run.db"
REPORT = "report.json"


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
    if resume:
        if not runs:
            raise UserError(f"there is no run of '{stream}' under {RUNS}/ to resume. Leave --resume out to start one.")
        return runs[-1]
    unfinished = [run for run in runs if not finished(run)]
    if unfinished:
        raise UserError(
            f"{unfinished[-1]} holds an unfinished run of '{stream}'.\n"
            f"Go on with it:             holdtrue run {stream} --resume --dir {unfinished[-1]}\n"
            f"Or start afresh elsewhere: holdtrue run {stream} --dir {RUNS}/{stream}-{len(runs) + 1}"
        )
    return RUNS / (stream if not runs else f"{stream}-{len(runs) + 1}")


def existing(stream: str) -> list[Path]:
    """Folders of earlier runs of a stream, oldest first."""
    numbered = [RUNS / stream, *sorted(RUNS.glob(f"{stream}-[0-9]*"), key=lambda p: (len(p.name), p.name))]
    return [folder for folder in numbered if (folder / DATABASE).exists()]


def finished(folder: Path) -> bool:
    """Whether the run in a folder came to its end."""
    return (folder / "finished").exists()


def latest() -> Path:
    """The folder that was written to last.

    Raises:
        UserError: there is no run yet.
    """
    runs = sorted((p.parent for p in RUNS.glob(f"*/{DATABASE}")), key=lambda p: (p / DATABASE).stat().st_mtime)
    if not runs:
        raise UserError(f"there is no run under {RUNS}/ yet. Start one: holdtrue run default")
    return runs[-1]
