"""The command `holdtrue`: parsing, and what a mistake looks like.

Exit codes: 0 done, 1 a fault of ours, or one that `memory verify` found, 2 a mistake of the user's,
130 stopped by Ctrl-C.
"""

import argparse
import errno
import logging
import os
import sqlite3
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from pydantic import ValidationError

from envs.component import UserError

SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Nothing is asked of the network, and the libraries' own bars do not run through our display."""

EPILOG = """\
Begin with:    holdtrue run default
Then look:     holdtrue ui
A stream is a YAML file; copy schedules/streams/default.yaml and change it. Every setting can be overridden:
               holdtrue run default --set exam.episodes=256 --set cycles.0.update.rounds=4
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="holdtrue",
        description="Keeps a vision-language agent true while its world drifts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a stream's cycles, from its start or where it stopped")
    stream_options(run)
    run.add_argument("--dir", help="the run's folder (default: runs/STREAM, runs/STREAM-2, ...)")
    run.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    play = commands.add_parser("play", help="show one episode: pictures, answers and their probabilities")
    stream_options(play)
    play.add_argument("--task", help="which regime (default: the stream's first)")
    play.add_argument("--seed", type=int, default=0, help="which room, and which luck (default: 0)")
    play.add_argument("--dir", help="let the champion of this run play (default: the untouched model)")
    play.add_argument("--png", default="episode.png", help="where the strip of pictures goes (default: episode.png)")
    exam = commands.add_parser("exam", help="examine a policy on every regime of a stream")
    stream_options(exam)
    exam.add_argument("--dir", help="examine the champion of this run (default: the untouched model)")
    exam.add_argument(
        "--controls", action="store_true", help="also what a constant, a coin, the blind and the deaf reach"
    )
    report = commands.add_parser("report", help="say again how a run ended")
    report.add_argument("dir", nargs="?", help="the run's folder (default: the latest)")
    ui = commands.add_parser("ui", help="open a run in MLflow, on this machine only")
    ui.add_argument("--dir", help="the run's folder (default: the latest)")
    ui.add_argument("--port", type=int, default=5000)
    check = commands.add_parser("check", help="try a world, or a model, of your own")
    check.add_argument(
        "world", nargs="?", help="MODULE:Id of a Gymnasium world, or a stream's name or file: all of its worlds"
    )
    check.add_argument("--model", metavar="FOLDER", help="try a checkpoint in Hugging Face format, or 'pilot', instead")
    check.add_argument(
        "--success", default="return_at_least=1", help="success rule, e.g. info=success (default: return_at_least=1)"
    )
    set_option(
        check,
        "a setting of the world, e.g. kwargs.size=6 or instruction='reach the goal', or with --model of the model, "
        "e.g. model.device=cuda or lora.rank=8; may be repeated",
    )
    memory_options(commands)
    service_options(commands)
    config = commands.add_parser("config", help="print a stream with every setting filled in")
    stream_options(config)
    return top


def service_options(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`holdtrue serve`, and what is said to it from another terminal."""
    serve = commands.add_parser("serve", help="live in a stream's worlds, and run cycles when they are due")
    stream_options(serve)
    serve.add_argument("--dir", help="the run's folder, new or served before (default: runs/STREAM)")
    for name, about in (
        ("status", "say what a service lives in, what is due, what was decided and what has moved"),
        ("pause", "live no more and begin no cycle until 'resume'"),
        ("resume", "go on after 'pause'"),
        ("stop", "end a service; what it is learning is given up and stays due"),
        ("cycle", "make a cycle due"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("--dir", metavar="RUN", help="the run's folder (default: the latest)")
    command.add_argument(
        "when", nargs="?", choices=["now"], default="now", help="as soon as what is due before is done"
    )
    command.add_argument("--task", metavar="NAME", help="train this regime (default: whichever needs it)")


def memory_options(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`holdtrue memory ACTION`."""
    memory = commands.add_parser(
        "memory", help="look into what a run remembers, copy it, mend it, or have it forgotten"
    )
    actions = memory.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, about: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        action.add_argument("--dir", metavar="RUN", help="the run's folder (default: the latest)")
        return action

    add("stats", "say how much is remembered, of which tasks, and how large it is")
    search = add("search", "find the steps most like a picture, a text, or both together")
    search.add_argument("what", nargs="+", metavar="IMAGE/TEXT", help="a file ending in .png or .jpg, words, or both")
    search.add_argument("-k", type=int, default=10, metavar="N", help="how many steps (default: 10)")
    show = add("show", "show one episode, who learned from it, and the pairs and judgements made from it")
    show.add_argument("id", metavar="ID", help="as 'search' and 'export' say it")
    show.add_argument("--png", metavar="FILE", help="write its pictures as a strip, too")
    export = add("export", "write it as parquet tables, PNG pictures and a Hugging Face dataset of pairs")
    export.add_argument("target", metavar="FOLDER", help="a folder that is new or empty")
    verify = add("verify", "read everything and say what is wrong; exit code 1 if anything is")
    verify.add_argument(
        "--repair", action="store_true", help="mend it: what can't be read is removed and named, the index is made anew"
    )
    add("rebuild", "make the vector index anew")
    embed = add("embed", "make all vectors anew by another embedder; stopped, it goes on where it was")
    stream_options(embed)
    forget = add("forget", "remove episodes for good, and all that was made from them; all that is said must hold")
    forget.add_argument("--task", metavar="NAME", help="of this regime")
    forget.add_argument(
        "--source", metavar="NAME", help="only pairs and judgements, of this source or annotator (such as 'recorded')"
    )
    forget.add_argument("--before", type=int, metavar="CYCLE", help="of cycles before this one")
    forget.add_argument("--id", metavar="ID", help="of this episode")
    forget.add_argument("--yes", action="store_true", help="do it; without it, only what would go is said")


def stream_options(command: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads a stream."""
    command.add_argument(
        "stream",
        nargs="?",
        help="a bundled stream's name, or a YAML file (default: that of the run in --dir, else 'default')",
    )
    set_option(command, "override a setting; may be repeated")


def set_option(command: argparse.ArgumentParser, about: str) -> None:
    """`--set KEY=VALUE`."""
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=about)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user's is one clear message and exit code 2."""
    args = parser().parse_args(argv)
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    name_imports()
    try:
        command = import_module(f"schedules.commands.{args.command}")  # only now: torch takes seconds to import
        return int(command.main(args) or 0)
    except UserError as error:
        return complain(str(error))
    except ValidationError as error:
        from schedules.config import explain

        return complain("\n".join(["a setting is wrong:", *explain(error, error.title)]))
    except KeyboardInterrupt:
        print("\nholdtrue: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its exit
        return 0
    except Exception as error:
        if is_damage(error):
            return complain(f"the run's file is damaged ({error}). See what can be done: holdtrue memory verify")
        if not disk_is_full(error):
            raise
        return complain("the disk is full. What was committed is safe. Free some space and go on with --resume.")


def complain(message: str) -> int:
    """Say what is wrong and how to mend it."""
    print(f"holdtrue: {message}", file=sys.stderr)
    return 2


def name_imports() -> None:
    """A user's own modules are named on the terminal before they are imported."""
    log = logging.getLogger("envs.component")
    log.handlers = [logging.StreamHandler()]
    log.setLevel(logging.INFO)
    log.propagate = False


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that its file is damaged."""
    code = getattr(error, "sqlite_errorcode", 0) if isinstance(error, sqlite3.DatabaseError) else 0
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether this, or what led to it, says so: each library does in its own way."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        if "No space left on device" in str(error) or "database or disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
