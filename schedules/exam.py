"""The exam: held-out seeds, the same for champion and candidate, never seen in training, never remembered."""

from collections.abc import Callable, Iterable

from envs.collect import Actor, WorldPool, collect
from envs.preface import Preface
from envs.types import Episode, Ticket
from schedules.metrics import ExamResult

FIRST_EXAM_SEED = 2**30
"""Training seeds lie below it, exam seeds from it on."""

Watch = Callable[[int, int], None]


def exam_tickets(task: str, episodes: int) -> list[Ticket]:
    """The exam of one regime. Ids name no adapter: both sides meet the same rooms and the same luck (paired)."""
    return [
        Ticket(f"exam/{task}/{seed}", task, seed, f"exam/{seed}", 0, -1)
        for seed in range(FIRST_EXAM_SEED, FIRST_EXAM_SEED + episodes)
    ]


def sit(
    actor: Actor,
    tasks: Iterable[str],
    episodes: int,
    pool: WorldPool,
    width: int,
    watch: Watch | None = None,
    preface: Preface | None = None,
) -> tuple[dict[str, ExamResult], list[Episode]]:
    """Examine `actor` on every task at once.

    Returns:
        The results by task, and the episodes played.
    """
    tickets = [ticket for task in tasks for ticket in exam_tickets(task, episodes)]
    played = collect(actor, tickets, pool, width, watch, preface)
    results = {}
    for task in dict.fromkeys(ticket.task for ticket in tickets):
        mine = [episode for episode in played if episode.task == task]
        results[task] = ExamResult(task, tuple(e.seed for e in mine), tuple(e.success for e in mine))
    return results, played
