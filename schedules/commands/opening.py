"""What several commands begin with: which stream, which run, which policy."""

from argparse import Namespace
from pathlib import Path

from agent.lvlm.embedding import LvlmEmbedder
from agent.policy import Policy
from envs.component import UserError
from memory.database import Database
from memory.embedding import Embedder
from schedules.checkpoint import Ledger
from schedules.config import StreamSettings, allow_modules, load_stream
from schedules.folder import DATABASE, SETTINGS, require_run


def stream_of(args: Namespace) -> StreamSettings:
    """The stream that was named; else that of the run in `--dir`; else the default one."""
    return load_stream(spelled(args), args.set)


def spelled(args: Namespace) -> str:
    """The stream as `load_stream` takes it."""
    if args.stream is not None:
        return str(args.stream)
    given = getattr(args, "dir", None)
    kept = Path(given) / SETTINGS if given is not None else None
    return str(kept) if kept is not None and kept.is_file() else "default"


def policy_of(stream: StreamSettings, folder: str | None) -> Policy:
    """The untouched model, or the champion of the run in `folder`."""
    champion = champion_of(Path(folder)) if folder is not None else None
    policy = Policy(stream.model, stream.lora, stream.seed, stream.speech)
    if champion is not None:
        policy.load_champion(champion)
    return policy


def embedder_of(ledger: Ledger, folder: Path) -> Embedder:
    """The embedder of a run whose database is open; modules of the user's may lie in its folder.

    Raises:
        UserError: the run stopped before it began, or its model is no longer where it was.
    """
    told = ledger.stream()
    if not told:
        raise UserError(f"{folder} holds a run that stopped before it began. Go on with --resume.")
    allow_modules(folder)
    stream = StreamSettings.model_validate(told)
    return LvlmEmbedder(Policy(stream.model.with_(**ledger.chosen()), stream.lora, stream.seed, stream.speech))


def champion_of(folder: Path) -> Path | None:
    """The champion's adapter; None where it is still the untouched model.

    Raises:
        UserError: there is no run, or it is going on right now.
    """
    with Database(require_run(folder) / DATABASE) as database:
        cycles = Ledger(database).cycles()
    return folder / cycles[-1].champion if cycles and cycles[-1].champion else None
