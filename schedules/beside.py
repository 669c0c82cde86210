"""Where a run's own modules lie: beside the file its stream was read from, which commands on the run don't name."""

from pathlib import Path

from schedules.checkpoint import Ledger
from schedules.config import BUNDLED, allow_modules, find_stream

_FACT = "beside"


def note_beside(ledger: Ledger, stream: str, folder: Path) -> None:
    """Remember the folder of the stream's file, if it is a person's own and not the copy in the run's `folder`."""
    beside = find_stream(stream).parent
    if beside not in (BUNDLED, folder.resolve()):
        ledger.replace_fact(_FACT, str(beside))


def allow_beside(ledger: Ledger, folder: Path) -> None:
    """Let modules lie in the run's `folder`, or where its stream was read from last."""
    allow_modules(folder)
    beside = ledger.fact(_FACT)
    if beside is not None:
        allow_modules(Path(beside))
