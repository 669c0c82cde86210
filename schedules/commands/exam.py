"""`holdtrue exam`: how good is a policy on every regime, and what do the controls reach?"""

from argparse import Namespace
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.collect import WorldPool
from schedules.commands.opening import policy_of, stream_of
from schedules.comparison import ExamResult
from schedules.controls import MOST, Controls, controls
from schedules.exam import sit
from schedules.progress import for_console
from schedules.variants import worlds_of


def main(args: Namespace) -> None:
    """Examine the untouched model, or the champion of a run."""
    stream = stream_of(args)
    policy = policy_of(stream, args.dir)
    worlds = worlds_of(stream)
    console = Console()
    with for_console(console) as progress:
        progress.phase("exam", f"{len(worlds)} regimes and variants, {stream.exam.episodes} episodes each")
        pool = WorldPool(worlds)
        results, _ = sit(policy, worlds, stream.exam.episodes, pool, stream.width, progress.tick)
        pool.close()
        told = []
        if args.controls:
            progress.phase("exam", "constants, a coin, the blind and the deaf")
            told = controls(policy, worlds, stream.exam.episodes, stream.width, progress.tick)
    who = f"champion of {args.dir}" if args.dir else f"untouched model {stream.model.path}"
    title = f"{stream.stream}, {who}: success on {stream.exam.episodes} held-out seeds"
    console.print(title, soft_wrap=True, highlight=False, markup=False)
    console.print(table(results, told))
    high = [control.task for control in told if control.highest > MOST]
    if high:
        mark = f"! above {MOST:.2f}: a control wins {', '.join(high)}, so that score alone shows no skill."
        console.print(mark, style="red", soft_wrap=True, highlight=False)


def table(results: Mapping[str, ExamResult], told: Sequence[Controls]) -> Table:
    """A row a regime; controls above `MOST` are marked."""
    drawn = Table(box=box.SIMPLE_HEAD)
    drawn.add_column("task")
    for heading in ["policy", *(["best constant", "coin", "blind", "deaf"] if told else [])]:
        drawn.add_column(heading, justify="right")
    by_task = {control.task: control for control in told}
    for task, result in results.items():
        cells = [Text(f"{result.mean:.2f} ±{result.half_width:.2f}")]
        if control := by_task.get(task):
            best = control.best_constant
            cells.append(_cell(best[1], f" {best[0]}") if best else Text("-"))
            cells += [_cell(other) for other in (control.coin, control.blind, control.deaf)]
        drawn.add_row(task, *cells)
    return drawn


def _cell(result: ExamResult | None, note: str = "") -> Text:
    if result is None:
        return Text("-")
    above = result.mean > MOST
    return Text(f"{'! ' if above else ''}{result.mean:.2f} ±{result.half_width:.2f}{note}", "red" if above else "")
