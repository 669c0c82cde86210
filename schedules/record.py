"""What a run tells of itself: MLflow is fed from the outbox, and `report.json` is rewritten from what is committed.

Both can be done again at any time, by the run or by a command that opens its folder later: nothing is told twice.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from envs.component import UserError
from memory.database import Database
from memory.overview import stats
from memory.store import MemoryStats
from schedules.checkpoint import Committed, Ledger
from schedules.columns import columns_of
from schedules.config import StreamSettings, allow_modules
from schedules.delivery import deliver
from schedules.diary import Diary
from schedules.folder import DATABASE, REPORT
from schedules.metrics import ScoreMatrix
from schedules.report import history, run_json, write_report
from schedules.story import Story, Told
from schedules.timeline import restore_matrix
from schedules.tracking import Tracker, TrackingIds
from schedules.variants import run_facts, variants_json


def now_ms() -> int:
    """Milliseconds since 1970: only told, never decided by."""
    return time.time_ns() // 1_000_000


def send(tracker: Tracker, ledger: Ledger, stream: StreamSettings, matrix: ScoreMatrix) -> str:
    """Send MLflow what it has not confirmed, in order.

    Returns:
        What a person should know, in sentences: what was mended, or why the rest waits; "" if all is well.
    """
    settings, story = stream.model_dump(mode="json"), story_of(ledger, stream)

    def waiting() -> Iterator[Mapping[str, Any]]:
        for record in ledger.unsent():
            yield {**record, **history(upto(matrix, record["cycle"])), "story": story}

    return deliver(tracker, stream.stream, settings, waiting, ledger.mark_sent, ledger.send_again)


def story_of(ledger: Ledger, stream: StreamSettings) -> Told | None:
    """What a life looks like by now; None of a run that leads none."""
    if ledger.fact("command") != "serve":
        return None
    return Story(ledger.database).told(Diary(ledger.database).alarms(), stream)


def upto(matrix: ScoreMatrix, cycle: int) -> ScoreMatrix:
    """The matrix as it was after this cycle."""
    return replace(
        matrix,
        rows=matrix.rows[: cycle + 1],
        primary=matrix.primary[:cycle],
        accepted=matrix.accepted[:cycle],
        rolled_back=tuple(pair for pair in matrix.rolled_back if pair[0] <= cycle),
    )


def write(
    folder: Path,
    stream: StreamSettings,
    matrix: ScoreMatrix,
    committed: Sequence[Committed],
    memory: MemoryStats,
    ids: TrackingIds | None,
    command: str,
) -> None:
    """Rewrite `report.json` of a run that is led by `command`.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    reports = [entry.report for entry in committed]
    seconds = round(sum(sum(report["seconds"].values()) for report in reports), 3)
    run = run_json(
        stream.stream, stream.seed, seconds, matrix, reports[1:], asdict(memory), asdict(ids) if ids else {},
        run_facts(stream, committed if command == "serve" else None), variants_json(stream, committed),
    )  # fmt: skip
    write_report(folder / REPORT, run)


def stream_of_run(ledger: Ledger, folder: Path) -> StreamSettings:
    """The settings a run began with; modules of the user's may lie in its folder.

    Raises:
        UserError: it stopped before it began.
    """
    told = ledger.fact("stream")
    if told is None or not ledger.cycles():
        raise UserError(f"{folder} holds a run that stopped before it began. Go on with --resume.")
    allow_modules(folder)
    return StreamSettings.model_validate(told)


def matrix_of(ledger: Ledger, stream: StreamSettings) -> ScoreMatrix:
    """The score matrix of a run that has begun."""
    matrix = restore_matrix(columns_of(ledger, stream), ledger.cycles())
    assert matrix is not None
    return matrix


def complete(folder: Path) -> None:
    """Tell what a run that ended did not get to tell, if there is such; one that is going on does so itself."""
    if not (folder / DATABASE).is_file():
        return
    with suppress(UserError), Database(folder / DATABASE) as database:
        ledger, path = Ledger(database), folder / REPORT
        rows = len(json.loads(path.read_text())["scores"]) if path.is_file() else 0
        if rows != len(ledger.cycles()) or any(True for _ in ledger.unsent()):
            catch_up(database, folder)


def catch_up(database: Database, folder: Path) -> str:
    """Tell what the run did not get to tell before it ended: to MLflow, then in the report.

    Returns:
        As `send` does.
    """
    ledger = Ledger(database)
    stream = stream_of_run(ledger, folder)
    committed = ledger.cycles()
    matrix = matrix_of(ledger, stream)
    tracker = Tracker(folder)
    told = send(tracker, ledger, stream, matrix)
    if tracker.ids is not None:
        status = "KILLED" if tracker.status_before == "RUNNING" else tracker.status_before  # nobody runs it any more
        tracker.finish(status, story_of(ledger, stream))
    write(folder, stream, matrix, committed, stats(database), tracker.ids, ledger.fact("command"))
    return told
