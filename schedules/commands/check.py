"""`holdtrue check`: does a world keep the contract?"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import gymnasium
import yaml
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.check import WorldReport, check_world
from envs.component import UserError
from envs.multimodal import WorldSettings
from schedules.config import allow_modules, apply_override, explain, load_stream

SOUND = "keeps the contract: Gymnasium's checker passes, a seed repeats an episode, any text is answered"


def main(args: Namespace) -> None:
    """Check one world, or all of a stream, and show what was seen."""
    console = Console()
    for name, settings in worlds(args).items():
        seen = check_world(settings)
        console.print(f"{name} {SOUND}.", soft_wrap=True, highlight=False, markup=False)
        console.print(table(seen))


def worlds(args: Namespace) -> dict[str, WorldSettings]:
    """The worlds to check, by name. One that is named itself may lie in the folder one is in."""
    if ":" not in args.world and args.world not in gymnasium.registry:
        return {name: regime.world for name, regime in load_stream(args.world, args.set).regimes.items()}
    allow_modules(Path.cwd())
    raw: dict[str, Any] = {"id": args.world, "success": success(args.success)}
    for override in args.set:
        apply_override(raw, override)
    try:
        return {args.world: WorldSettings.model_validate(raw)}
    except ValidationError as error:
        raise UserError(
            "\n".join([f"{args.world}:", *explain(error, "world", sorted(WorldSettings.model_fields))])
        ) from error


def success(rule: str) -> dict[str, Any]:
    """`info=KEY` or `return_at_least=NUMBER` as settings."""
    name, _, value = rule.partition("=")
    if name not in ("info", "return_at_least") or not value:
        raise UserError(f"--success {rule}: write info=KEY or return_at_least=NUMBER.")
    return {name: value if name == "info" else yaml.safe_load(value)}


def table(report: WorldReport) -> Table:
    """What was seen of a sound world."""
    drawn = Table(box=box.SIMPLE_HEAD, show_header=False)
    drawn.add_column(style="dim")
    drawn.add_column()
    pictures = ", ".join("x".join(map(str, shape)) for shape in report.pictures) or "none"
    for what, seen in (
        ("world", report.id),
        ("first prompt", report.prompt),
        ("may be said", ", ".join(report.choices) if report.choices else "anything"),
        ("pictures", pictures),
        ("steps at random", ", ".join(map(str, report.steps))),
        ("success at random", f"{report.success:.2f} of {len(report.steps)} episodes"),
    ):
        drawn.add_row(what, Text(seen))
    return drawn
