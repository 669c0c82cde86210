"""`holdtrue memory embed`: the vectors of a run's memory made anew by the embedder its stream names now."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from envs.component import UserError
from memory.database import Database
from memory.embedding import Embedder
from memory.reembedding import Reembedding
from memory.store import MemorySettings, ReplayMemory
from schedules.beside import allow_beside, note_beside
from schedules.checkpoint import Ledger, difference
from schedules.commands.opening import embedder_of
from schedules.commands.remembering import run_folder
from schedules.commands.run import say, write_settings
from schedules.config import StreamSettings, load_stream
from schedules.folder import DATABASE, SETTINGS
from schedules.progress import for_console

TYPE = "memory.embedder.type="


def main(args: Namespace) -> None:
    """Make them anew, from the start or from where it was stopped; then let the run know its new embedder."""
    folder = run_folder(args)
    spelled = args.stream or str(folder / SETTINGS)
    console = Console()
    with Database(folder / DATABASE) as database:
        ledger = Ledger(database)
        allow_beside(ledger, folder)
        stream = load_stream(spelled, alone(args.set))
        check_stream(stream, ledger, folder)
        embedder = embedder_of(stream, ledger)
        note_beside(ledger, spelled, folder)
        write_settings(stream, folder)  # first: a command that is given again without --set goes on with the same
        made = embed(database, ledger, stream, embedder, console)
    say(console, f"{made} episodes in {folder} have vectors of {embedder.version}; the run can be resumed with them.")


def embed(database: Database, ledger: Ledger, stream: StreamSettings, embedder: Embedder, console: Console) -> int:
    """Embed, switch and build the index.

    Returns:
        How many episodes there are.
    """
    reembedding = Reembedding(database, embedder)
    if reembedding.needed:
        with for_console(console) as progress:
            for done, total in reembedding.work():
                progress.phase("memory", f"{embedder.version}: {done} of {total} episodes embedded")
    with database.transaction():
        reembedding.switch()
        ledger.replace_fact("stream", stream.model_dump(mode="json"))
    memory = ReplayMemory(database, embedder, MemorySettings(capacity=stream.memory.capacity))
    memory.rebuild_index()
    memory.save_index(always=True)
    return memory.stats().episodes


def alone(overrides: Sequence[str]) -> list[str]:
    """The overrides, where another type of embedder stands alone: the old one's own settings mean nothing to it."""
    return [f"memory.embedder={{type: {one.removeprefix(TYPE)}}}" if one.startswith(TYPE) else one for one in overrides]


def check_stream(stream: StreamSettings, ledger: Ledger, folder: Path) -> None:
    """Make sure that nothing but the embedder is another one than the run began with.

    Raises:
        UserError: something else is.
    """
    known, wanted = ledger.fact("stream"), stream.model_dump(mode="json")
    if known is None:
        raise UserError(f"{folder} holds no run that has begun. Give a run's folder.")
    known["memory"]["embedder"] = wanted["memory"]["embedder"]
    if known != wanted:
        raise UserError(
            f"the stream is not that of the run in {folder}:\n  {difference(known, wanted)}\n"
            "Change memory.embedder alone, or leave the stream out."
        )
