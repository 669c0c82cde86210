"""`holdtrue memory ACTION`: one file an action, `memory_ACTION.main(args)`."""

from argparse import Namespace
from importlib import import_module


def main(args: Namespace) -> int | None:
    """Do it; returns the exit code where it isn't 0."""
    return import_module(f"schedules.commands.memory_{args.action}").main(args)  # only now: search needs torch
