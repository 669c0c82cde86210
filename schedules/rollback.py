"""Going back: the champion is again the adapter before it, or the one that held after an earlier cycle.

One transaction commits a row of its own kind, with its own number: no cycle, so no planned one is skipped. Its scores
are those of the adapter that holds again, known from its row; it is no training, and what it takes back counts in no
figure any more. No model is loaded, no adapter is deleted, and memory keeps what was lived.
"""

from pathlib import Path

from agent.report import UpdateReport
from envs.component import UserError
from schedules.checkpoint import Committed, Ledger
from schedules.clock import PHASES
from schedules.diary import Diary
from schedules.metrics import ScoreMatrix
from schedules.record import matrix_of, now_ms, stream_of_run
from schedules.report import CycleReport, cycle_json, tracking_record
from schedules.story import Story
from schedules.timeline import last_row
from schedules.variants import last_variants, variants_row

UNTOUCHED = "the untouched model"
WEIGHTS = "adapter_model.safetensors"


def roll_back(ledger: Ledger, folder: Path, to: int | None) -> Committed:
    """Commit the rollback and its outbox record in one transaction; MLflow and the report are told after it.

    Args:
        to: the champion after this cycle holds again; None: the one before the champion of now.

    Raises:
        UserError: there is nothing to go back to, or its adapter is not there.
    """
    stream = stream_of_run(ledger, folder)
    committed = ledger.cycles()
    matrix = matrix_of(ledger, stream)
    row = target(matrix, committed, folder, to)
    require_adapter(folder, committed[row].champion)
    after = matrix.returned(row)
    report = told(matrix, after, committed, row)
    outcomes = last_row(after) | variants_row(last_variants(committed[: row + 1]))
    entry = Committed(len(committed), report, outcomes, committed[row].champion)
    record = tracking_record(after, now_ms(), report)
    with ledger.database.transaction():
        ledger.commit(entry, record)
        if ledger.fact("command") == "serve":
            diary = Diary(ledger.database)
            diary.promoted()
            Story(ledger.database).rolled_back(diary.come())
    return entry


def target(matrix: ScoreMatrix, committed: list[Committed], folder: Path, to: int | None) -> int:
    """The row whose champion is to hold again."""
    if to is None:
        if not matrix.promoted:
            raise UserError(
                f"the champion of {folder} is {UNTOUCHED}: there is nothing to go back to. "
                "A later one, if there was any, is had by --to CYCLE; 'holdtrue report' says what each cycle made."
            )
        return matrix.in_force[matrix.in_force.index(matrix.promoted[-1]) - 1]
    last = len(committed) - 1
    if not 0 <= to <= last:
        raise UserError(f"--to {to}: {folder} has cycles 0 to {last}. Give one of these (0: {UNTOUCHED}).")
    if committed[to].champion == committed[-1].champion:
        same = committed[to].champion or UNTOUCHED
        raise UserError(f"--to {to}: its champion, {same}, is the champion now. Give a cycle with another one.")
    return to


def require_adapter(folder: Path, champion: str) -> None:
    """Raise UserError if the adapter that is to hold again isn't there."""
    if champion and not (folder / champion / WEIGHTS).is_file():
        raise UserError(
            f"{folder / champion} is not there any more (or has no {WEIGHTS}), so it can't be champion again. "
            "Restore it from a copy, or name another cycle by --to."
        )


def told(before: ScoreMatrix, after: ScoreMatrix, committed: list[Committed], row: int) -> dict:
    """The rollback as a report, with the keys of a cycle's."""
    gone, again = committed[-1].champion or UNTOUCHED, committed[row].champion or UNTOUCHED
    sentence = f"rolled back: {again} is champion again in place of {gone}, with the scores of row {row}"
    update = UpdateReport("rollback", 0, 0, 0, None, None)
    return cycle_json(
        CycleReport(
            len(committed), "", "rollback", "asked for: holdtrue rollback", means(before), means(after), update,
            False, sentence, 0, dict.fromkeys(PHASES, 0.0), back_to=row,
        )
    )  # fmt: skip


def means(matrix: ScoreMatrix) -> dict[str, float | None]:
    """Success of the last champion by regime that is there."""
    return {cell.task: cell.mean for cell in matrix.rows[-1] if cell is not None}
