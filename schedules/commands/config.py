"""`holdtrue config`: a stream with every setting filled in."""

from argparse import Namespace

from schedules.config import as_yaml, load_stream


def main(args: Namespace) -> None:
    """Print it as YAML that `holdtrue run` takes."""
    print(as_yaml(load_stream(args.stream or "default", args.set)), end="")
