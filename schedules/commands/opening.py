"""What several commands begin with: which stream, which run, which policy."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.embedders import build_embedder
from agent.examples import Examples
from agent.policy import Policy
from envs.component import UserError
from memory.database import Database
from memory.embedding import Embedder
from memory.store import ReplayMemory
from schedules.beside import allow_beside
from schedules.checkpoint import Ledger
from schedules.config import StreamSettings, load_stream
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


@contextmanager
def examples_of(stream: StreamSettings, policy: Policy, folder: str | None) -> Iterator[Examples | None]:
    """What the run in `folder` would show before its next cycle; None where the stream wants none, or there is no run.

    Raises:
        UserError: there is no run, it is going on right now, or its vectors are another embedder's.
    """
    count = stream.memory.examples
    if folder is None or not count:
        yield None
        return
    with Database(require_run(Path(folder)) / DATABASE) as database:
        memory = ReplayMemory(database, build_embedder(stream.memory.embedder, lambda: policy))
        yield Examples(memory, policy.prompter, count, len(Ledger(database).cycles()))


def stored_embedder(ledger: Ledger, folder: Path) -> Embedder:
    """The embedder of a run whose database is open; modules of the user's may lie in its folder or beside its stream.

    Raises:
        UserError: the run stopped before it began, or its model is not what it was.
    """
    told = ledger.fact("stream")
    if told is None:
        raise UserError(f"{folder} holds a run that stopped before it began. Go on with --resume.")
    allow_beside(ledger, folder)
    return embedder_of(StreamSettings.model_validate(told), ledger)


def embedder_of(stream: StreamSettings, ledger: Ledger) -> Embedder:
    """The stream's embedder, with a policy only if it asks one.

    Raises:
        UserError: the model is not the one the run began with.
    """

    def policy() -> Policy:
        loaded = Policy(stream.model.with_(**ledger.chosen()), stream.lora, stream.seed, stream.speech)
        if loaded.checkpoint.identity != ledger.fact("base"):
            raise UserError(
                f"model.path '{stream.model.path}' holds other weights than the run began with. Put the old ones back: "
                "its adapters belong to them."
            )
        return loaded

    return build_embedder(stream.memory.embedder, policy)


def champion_of(folder: Path) -> Path | None:
    """The champion's adapter; None where it is still the untouched model.

    Raises:
        UserError: there is no run, or it is going on right now.
    """
    with Database(require_run(folder) / DATABASE) as database:
        cycles = Ledger(database).cycles()
    return folder / cycles[-1].champion if cycles and cycles[-1].champion else None
