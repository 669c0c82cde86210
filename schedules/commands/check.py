"""`holdtrue check`: does a world keep the contract, will a checkpoint work here?"""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import gymnasium
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from agent.inspection import RoundTrip, describe, round_trip
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.speech import Speech
from agent.policy import Policy
from envs.check import WorldReport, check_world
from envs.component import Settings, UserError
from envs.multimodal import WorldSettings
from schedules.commands.tables import rows
from schedules.config import allow_modules, apply_override, explain, load_stream
from schedules.variants import worlds_of
from schedules.yaml12 import read_yaml

SOUND = "keeps the contract: Gymnasium's checker passes, a seed repeats an episode, any text is answered"


def main(args: Namespace) -> None:
    """Check one world, all of a stream, or a model, and show what was seen."""
    console = Console()
    if (args.world is None) == (args.model is None):
        raise UserError("say what to check: a world or a stream, or --model FOLDER.")
    if args.model is not None:
        check_model(args, console)
        return
    for name, settings in worlds(args).items():
        seen = check_world(settings)
        console.print(f"{name} {SOUND}.", soft_wrap=True, highlight=False, markup=False)
        console.print(table(seen))


def check_model(args: Namespace, console: Console) -> None:
    """Load a checkpoint, act, score and learn with it once."""
    raw: dict[str, Any] = {}
    for override in args.set:
        apply_override(raw, override)
    try:
        settings = ModelCheck.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(["a setting is wrong:", *explain(error, model=ModelCheck)])) from error
    started = time.perf_counter()
    policy = Policy(settings.model.with_(path=args.model), settings.lora, speech=settings.speech)
    loaded = time.perf_counter() - started
    facts = rows(describe(policy))  # before the round trip: they help to see why it fails
    console.print(facts)
    trip = round_trip(policy)
    console.print(f"{args.model} works here.", soft_wrap=True, highlight=False, markup=False)
    console.print(rows(told(trip, loaded)))


class ModelCheck(Settings):
    """The part of a stream that says which model, and how it runs and learns."""

    model: ModelSettings = ModelSettings()
    lora: LoraSettings = LoraSettings()
    speech: Speech = Speech()


def told(trip: RoundTrip, loaded: float) -> list[tuple[str, str]]:
    """What came of the round trip."""
    return [
        ("loaded in", f"{loaded:.1f} s"),
        ("a prompt", f"{trip.prompt_tokens} tokens, {trip.picture_tokens} of them for its picture"),
        ("said of four", trip.closed),
        ("said freely", repr(trip.opened)),
        ("acting and scoring", f"agree to {trip.difference:.1g} nats"),
        ("decisions", f"{trip.speed.fresh:,.1f} a second ({trip.speed.again:,.1f} on what was seen before)"),
        ("an optimizer step", f"{trip.step_seconds:.2f} s for 8 decisions"),
    ]


def worlds(args: Namespace) -> dict[str, WorldSettings]:
    """The worlds to check, by name. One that is named itself may lie in the folder one is in."""
    if ":" not in args.world and args.world not in gymnasium.registry:
        return worlds_of(load_stream(args.world, args.set))
    allow_modules(Path.cwd())
    raw: dict[str, Any] = {"id": args.world, "success": success(args.success)}
    for override in args.set:
        apply_override(raw, override)
    try:
        return {args.world: WorldSettings.model_validate(raw)}
    except ValidationError as error:
        raise UserError("\n".join([f"{args.world}:", *explain(error, "world", WorldSettings)])) from error


def success(rule: str) -> dict[str, Any]:
    """`info=KEY` or `return_at_least=NUMBER` as settings."""
    name, _, value = rule.partition("=")
    if name not in ("info", "return_at_least") or not value:
        raise UserError(f"--success {rule}: write info=KEY or return_at_least=NUMBER.")
    return {name: value if name == "info" else read_yaml(value)}


def table(report: WorldReport) -> Table:
    """What was seen of a sound world."""
    pictures = ", ".join("x".join(map(str, shape)) for shape in report.pictures) or "none"
    return rows(
        [
            ("world", report.id),
            ("first prompt", report.prompt),
            ("may be said", ", ".join(report.choices) if report.choices else "anything"),
            ("pictures", pictures),
            ("steps at random", ", ".join(map(str, report.steps))),
            ("success at random", f"{report.success:.2f} of {len(report.steps)} episodes"),
        ]
    )
