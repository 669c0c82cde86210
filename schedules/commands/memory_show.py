"""`holdtrue memory show`: one episode, and what became of it."""

from argparse import Namespace
from pathlib import Path

import numpy as np
from rich.console import Console

from envs.component import UserError
from envs.types import Episode, Step
from memory.overview import Past, past, similar_ids
from memory.schema import LIVED
from schedules.checkpoint import Committed
from schedules.commands.remembering import Run, in_words, opened, say
from schedules.commands.tables import table
from schedules.learned import learners, promoted
from schedules.strip import ending, instruction, write_strip

STEPS = ("step", "said", "command", "reward", "cost", "nats", "end")
RIGHT = ("step", "reward", "cost", "nats", "margin")


def main(args: Namespace) -> None:
    """Print the episode and its past; with `--png`, write its pictures."""
    with opened(args) as run:
        became = past(run.parts.database, args.id)
        episode = found(run, args.id, became)
        cycles = run.ledger.cycles()
    console = Console()
    first = episode.steps[0].observation if episode.steps else episode.final
    say(console, f"{episode.id}: {episode.task}, cycle {episode.cycle}, seed {episode.seed}, {ending(episode)}", "bold")
    say(console, instruction(first))
    console.print(table(STEPS, [step_row(i, step) for i, step in enumerate(episode.steps)], right=RIGHT))
    for line in lines(episode, became, cycles):
        say(console, line)
    tell_made(console, became)
    if args.png:
        write_png(Path(args.png), episode)
        say(console, f"Pictures: {args.png}")


def found(run: Run, name: str, became: Past) -> Episode:
    """The episode.

    Raises:
        UserError: it isn't there, or a picture of it is damaged.
    """
    numbers = run.parts.episodes.numbers([name])
    if numbers:
        return run.parts.episodes.read([numbers[name]])[0]
    if became.drawn or became.pairs or became.judgements:
        cycles = used_in(became) | {judged.cycle for judged in became.judgements}
        raise UserError(
            f"episode '{name}' is no longer there: evicted or forgotten. It was used in {in_words(cycles)}; "
            f"'holdtrue memory forget --id {name}' says which adapters learned from it."
        )
    alike = similar_ids(run.parts.database, name)
    hint = f"Did you mean one of: {', '.join(alike)}?" if alike else "'holdtrue memory search' finds ids."
    raise UserError(f"no episode '{name}' in {run.folder}. {hint}")


def step_row(number: int, step: Step) -> tuple[str, ...]:
    """A step in words; nats are those of the whole answer under the distribution that sampled it."""
    end = "terminated" if step.terminated else "truncated" if step.truncated else ""
    said = step.action.text if step.action.readable else f"{step.action.text}  (not readable)"
    nats = float(np.sum(step.action.logprobs))
    return (str(number), said, str(step.action.command), f"{step.reward:+g}", f"{step.cost:g}", f"{nats:+.2f}", end)


def lines(episode: Episode, became: Past, cycles: list[Committed]) -> list[str]:
    """Who played it, when it was rehearsed, and which adapters learned from it."""
    played = next((entry for entry in cycles if entry.cycle == episode.cycle), None)
    if episode.group == LIVED:
        told = [f"Lived through before the end of cycle {episode.cycle}, which did not learn from it."]
    elif episode.cycle == 0:
        told = ["Lived in before any training."]
    elif played is None:
        told = [f"Played in cycle {episode.cycle}, which isn't over yet."]
    else:
        verdict = "promoted" if promoted(played) else "refused: what it learned is gone"
        told = [f"Played in cycle {episode.cycle}, whose candidate was {verdict}."]
    told += [f"Drawn in cycle {draw.cycle} for {draw.use}: {draw.why}" for draw in became.drawn]
    told.append(f"Rehearsed {became.uses} times, last in cycle {became.seen}." if became.uses else "Never rehearsed.")
    own = {episode.cycle} if episode.group != LIVED else set()
    learned = learners(cycles, own | used_in(became))
    told.append(f"Adapters that learned from it: {', '.join(learned.direct) or 'none'}.")
    if learned.descended:
        told.append(f"Adapters that go on from these: {', '.join(learned.descended)}.")
    return told


def used_in(became: Past) -> set[int]:
    """Cycles that learned from it, beside the one that played it."""
    rehearsed = {became.seen} if became.uses else set()
    return rehearsed | {draw.cycle for draw in became.drawn} | {pair.cycle for pair in became.pairs}


def tell_made(console: Console, became: Past) -> None:
    """Pairs and judgements made from it."""
    if became.pairs:
        rows = [(str(p.cycle), p.source, p.chosen, p.rejected, f"{p.margin:g}") for p in became.pairs]
        console.print(table(("cycle", "pair of", "chosen", "rejected", "margin"), rows, right=RIGHT))
    if became.judgements:
        judged = [
            (str(j.cycle), j.source, ", ".join(j.episodes), "no opinion" if j.margin is None else f"{j.margin:g}")
            for j in became.judgements
        ]
        console.print(table(("cycle", "judged by", "episodes", "margin"), judged, right=RIGHT))


def write_png(path: Path, episode: Episode) -> None:
    """The strip of pictures."""
    try:
        write_strip(path, episode)
    except (OSError, ValueError) as error:
        raise UserError(f"--png {path}: {error}. Give a file in a folder that can be written.") from error
