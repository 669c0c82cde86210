"""The command `holdtrue`: parsing, and what a mistake looks like.

Exit codes: 0 done, 1 a fault of ours, 2 a mistake of the user's, 130 stopped by Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from envs.component import UserError

EPILOG = """\
Begin with:    holdtrue run default
Then look:     holdtrue ui
A stream is a YAML file; copy schedules/streams/default.yaml and change it. Every setting can be overridden:
               holdtrue run default --set exam.episodes=64 --set cycles.0.update.rounds=4
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
    check = commands.add_parser("check", help="try a world of your own against the contract")
    check.add_argument("world", help="MODULE:Id of a Gymnasium world, or a stream's name or file: all of its worlds")
    check.add_argument(
        "--success", default="return_at_least=1", help="success rule, e.g. info=success (default: return_at_least=1)"
    )
    config = commands.add_parser("config", help="print a stream with every setting filled in")
    stream_options(config)
    return top


def stream_options(command: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads a stream."""
    command.add_argument(
        "stream", nargs="?", default="default", help="a bundled stream's name, or a YAML file (default: default)"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting; may be repeated"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user's is one clear message and exit code 2."""
    args = parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from schedules import commands  # after the arguments are read: torch takes seconds to import

    try:
        getattr(commands, args.command)(args)
    except UserError as error:
        print(f"holdtrue: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nholdtrue: stopped. What was committed is kept; --resume goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
