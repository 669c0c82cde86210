"""The exam: held-out seeds, the same for champion and candidate, never seen in training, never remembered."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from envs.collect import Actor, WorldPool, collect
from envs.component import Settings
from envs.preface import Preface
from envs.types import Episode, Ticket
from schedules.metrics import ExamResult

FIRST_EXAM_SEED = 2**30
"""Training seeds lie below it, exam seeds from it on."""

Watch = Callable[[int, int], None]


class ExamSettings(Settings):
    """The exam of every regime.

    Attributes:
        episodes: held-out seeds each regime is examined on.
        stop_early: end the exam of a candidate once it is surely refused. One that is promoted sat all of it.
        within: also examine old skills after every so many optimizer steps, for their lowest score within a cycle; None
            never does. It costs an exam each.
    """

    episodes: int = Field(128, ge=8, le=100_000)
    stop_early: bool = True
    within: int | None = Field(None, ge=1)


def exam_tickets(task: str, part: range) -> list[Ticket]:
    """A part of the exam of one regime. Ids name no adapter: both sides meet the same rooms and luck (paired)."""
    return [
        Ticket(f"exam/{task}/{seed}", task, seed, f"exam/{seed}", 0, -1)
        for seed in (FIRST_EXAM_SEED + place for place in part)
    ]


def exam_facts(tasks: Sequence[str], episodes: int) -> dict[str, Any]:
    """How many seeds each regime has, and 16 hex digits that name this very exam: its regimes, seeds and luck."""
    told = (f"{t.id} {t.task} {t.seed}\n" for task in tasks for t in exam_tickets(task, range(episodes)))
    name = hashlib.blake2b("".join(told).encode(), digest_size=8).hexdigest()
    return {"seeds_hash": name, "episodes": episodes}


def sit(
    actor: Actor,
    tasks: Iterable[str],
    part: int | range,
    pool: WorldPool,
    width: int,
    watch: Watch | None = None,
    preface: Preface | None = None,
) -> tuple[dict[str, ExamResult], list[Episode]]:
    """Examine `actor` on every task at once.

    Args:
        part: how many seeds, or which places of the exam.

    Returns:
        The results by task, and the episodes played.
    """
    places = range(part) if isinstance(part, int) else part
    tickets = [ticket for task in tasks for ticket in exam_tickets(task, places)]
    played = collect(actor, tickets, pool, width, watch, preface)
    results = {}
    for task in dict.fromkeys(ticket.task for ticket in tickets):
        mine = [episode for episode in played if episode.task == task]
        costs = tuple(sum(step.cost for step in e.steps) for e in mine)
        outcomes = tuple(e.seed for e in mine), tuple(e.success for e in mine), costs if any(costs) else ()
        results[task] = ExamResult(task, *outcomes)
    return results, played


def in_words(scores: Mapping[str, ExamResult]) -> str:
    """Success of each task, 0..1, in one line: `goto 0.96, exchanged 0.46 (success on 128 held-out seeds each)`."""
    seeds = max((len(result.seeds) for result in scores.values()), default=0)
    reached = ", ".join(f"{name} {result.mean:.2f}" for name, result in scores.items())
    return f"{reached} (success on {seeds} held-out seeds each)"


def readable_share(episodes: Iterable[Episode], task: str) -> float:
    """Share of readable actions on `task`, 0..1; 1 where it was not examined."""
    readable = [step.action.readable for e in episodes if e.task == task for step in e.steps]
    return sum(readable) / len(readable) if readable else 1.0
