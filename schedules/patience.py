"""What becomes of a task whose candidates are refused again and again: slower steps, then a pause and a person.

All of it is read off the committed reports, so a resumed run decides as one that was never stopped.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from envs.component import UserError
from schedules.config import CyclePlan
from schedules.loop import Loop

SLOWER = 0.5
"""What the learning rate is multiplied by, once for each `gate.patience` refusals in a row."""
PAUSED = "paused_after"


def refusals(reports: Sequence[Mapping[str, Any]], task: str) -> int:
    """How many of the last cycles that trained `task` were refused, one after the other."""
    count = 0
    for report in reversed([report for report in reports if report.get("task") == task]):
        if report["accepted"]:
            break
        count += 1
    return count


def slower(update: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """An update's settings with every `learning_rate` in them multiplied, those of stages and arms too."""

    def changed(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return slower(value, factor)
        if isinstance(value, list):
            return [slower(item, factor) if isinstance(item, Mapping) else item for item in value]
        return value * factor if name == "learning_rate" and isinstance(value, int | float) else value

    return {name: changed(name, value) for name, value in update.items()}


def eased(loop: Loop, plan: CyclePlan, reason: str) -> tuple[CyclePlan, str]:
    """The plan with the learning rate that its task's refusals leave it, and the reason with that said."""
    patience = loop.stream.gate.patience
    refused = refusals(_reports(loop), plan.task)
    if patience is None or refused < patience:
        return plan, reason
    factor = SLOWER ** (refused // patience)
    told = f"{reason}; learning rate x {factor:g} after {refused} refusals in a row"
    return plan.with_(update=slower(plan.update, factor)), told


def pause(loop: Loop) -> str:
    """Why the stream is to be paused after the last committed cycle, and how to go on; "" if it is not."""
    patience, reports = loop.stream.gate.patience, _reports(loop)
    if patience is None or not reports or reports[-1]["accepted"]:
        return ""
    task = reports[-1]["task"]
    refused = refusals(reports, task)
    if refused % (2 * patience):
        return ""
    return (
        f"the stream is paused after cycle {reports[-1]['cycle']}: {refused} candidates of {task} were refused in a "
        f"row (gate.patience is {patience}), the last one: {reports[-1]['verdict']}. The champion is kept. Read the "
        f"verdicts: holdtrue report {loop.folder}. To go on as it is, at a lower learning rate: {loop.goes_on} "
        f"--dir {loop.folder}. For other settings start a new run."
    )


def stop_if_paused(loop: Loop) -> None:
    """Stop a run that is to be paused, once: who resumes it has read why.

    Raises:
        UserError: saying why, and how to go on.
    """
    if why := untold_pause(loop):
        note_pause(loop)
        raise UserError(why)


def untold_pause(loop: Loop) -> str:
    """See `pause`; "" also where it was told after this cycle before, whatever was rolled back since."""
    why = pause(loop)
    return why if why and loop.ledger.fact(PAUSED) != _reports(loop)[-1]["cycle"] else ""


def note_pause(loop: Loop) -> None:
    """The pause after the last cycle is told: it is not told again."""
    loop.ledger.note(PAUSED, _reports(loop)[-1]["cycle"])


def _reports(loop: Loop) -> list[dict[str, Any]]:
    """Of cycles alone: a rollback is neither accepted nor refused."""
    return [entry.report for entry in loop.committed[1:] if entry.report.get("back_to") is None]
