"""`holdtrue play`: one episode to look at."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from envs.collect import WorldPool, collect
from envs.component import UserError
from envs.types import Ticket
from schedules.commands.opening import examples_of, policy_of, stream_of
from schedules.config import guess
from schedules.strip import episode_text, write_strip


def main(args: Namespace) -> None:
    """Play one episode, show it in the terminal and write it as a strip of pictures."""
    stream = stream_of(args)
    task = args.task or next(iter(stream.regimes))
    if task not in stream.regimes:
        raise UserError(f"--task {task}: no such regime in {stream.stream}. {guess(task, stream.regimes)}")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: seeds are 0 or more. Give another one.")
    policy = policy_of(stream, args.dir)
    pool = WorldPool({task: stream.regimes[task].world})
    ticket = Ticket(f"play/{task}/{args.seed}", task, args.seed, "play", 0, -1)
    with examples_of(stream, policy, args.dir) as shown:
        (episode,) = collect(policy, [ticket], pool, width=1, preface=shown)
    pool.close()
    console = Console()
    console.print(episode_text(episode, pictures=console.is_terminal))
    path = Path(args.png)
    try:
        write_strip(path, episode)
    except (OSError, ValueError) as error:
        raise UserError(f"--png {path}: {error}. Give a file in a folder that can be written.") from error
    console.print(f"Pictures: {path}", highlight=False, soft_wrap=True)
