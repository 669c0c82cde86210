"""A long run's record: 1000 made-up cycles told to MLflow through the true tracker, then its page opened.

Seconds of a record are those of a core (so that a busy neighbour counts little); those of the page are of the clock.
The page is opened as a browser does: its files, the list of runs, the timeline, every series of it. Drawing them in the
browser is not in it.
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agent.report import UpdateReport
from benchmarks.runs import arguments, finish, machine
from memory.database import Database
from schedules.checkpoint import Committed, Ledger
from schedules.comparison import ExamResult
from schedules.config import StreamSettings, effective
from schedules.metrics import ScoreMatrix
from schedules.record import send
from schedules.report import CycleReport, cycle_json, tracking_record
from schedules.timeline import last_row, timeline
from schedules.tracking import QUIET, Tracker, TrackingIds, ui_command

TASKS = ("goto", "exchanged", "cards", "numbers")
SEEDS = 128
EDGE = 40
"""Cycles at the start and at the end whose seconds are compared."""
WORLD = {"id": "envs.copycat:Copycat-v0", "success": {"info": "success"}}
API = "ajax-api/2.0/mlflow"


def stream() -> StreamSettings:
    """Four tasks in turn; only its names matter."""
    grpo = {"type": "grpo"}
    return effective(
        StreamSettings.model_validate(
            {
                "stream": "record",
                "regimes": {task: {"known": task == TASKS[0], "world": WORLD} for task in TASKS},
                "cycles": [{"task": task, "update": grpo} for task in TASKS],
            }
        )
    )


def exam(rng: np.random.Generator, level: np.ndarray) -> dict[str, ExamResult]:
    """Made-up outcomes about these levels of success."""
    drawn = rng.random((len(TASKS), SEEDS)) < level[:, None]
    return {t: ExamResult(t, tuple(range(SEEDS)), tuple(map(bool, d))) for t, d in zip(TASKS, drawn, strict=True)}


def record(folder: Path, cycles: int) -> tuple[list[float], TrackingIds]:
    """Seconds of a core that each cycle's record took, from its making to MLflow's confirmation."""
    rng, settings, spent = np.random.default_rng(0), stream(), []
    tracker = Tracker(folder)
    with Database(folder / "run.db") as database:
        ledger = Ledger(database)
        matrix = ScoreMatrix.start(timeline(settings), exam(rng, np.full(len(TASKS), 0.5)))
        champion = ""
        for number in range(cycles + 1):
            report = None
            if number:
                task, accepted = TASKS[number % len(TASKS)], bool(rng.random() < 0.6)
                matrix = matrix.extended(task, accepted, exam(rng, rng.uniform(0.4, 0.9, len(TASKS))))
                report = cycle_json(report_of(number, task, accepted, matrix))
                champion = adapter(folder, number) if accepted else champion
            began = time.process_time()
            moved = champion if report and report["accepted"] else ""
            curve = [{"loss": 1.0, "kl": 0.01, "entropy": 0.5}] * 24
            told = tracking_record(matrix, 1_800_000_000_000 + 60_000 * number, report, curve, moved)
            ledger.commit(Committed(number, report or {"cycle": 0}, last_row(matrix), champion), told)
            trouble = send(tracker, ledger, settings, matrix)
            spent.append(time.process_time() - began)
            if trouble:
                raise SystemExit(trouble)
            if number % 100 == 0:
                print(f"cycle {number}: {np.median(spent[-EDGE:]):.3f} s", flush=True)
    tracker.finish()
    assert tracker.ids is not None
    return spent, tracker.ids


def report_of(number: int, task: str, accepted: bool, matrix: ScoreMatrix) -> CycleReport:
    """A cycle's report with its usual parts."""
    scores = dict(zip(matrix.names, matrix.scores[-1].tolist(), strict=True))
    metrics = dict.fromkeys(("return", "spread", "readable", "entropy", "loss", "kl", "clip", "ratio"), 0.5)
    update = UpdateReport("grpo", 24, 512, 256, 0.02, 0.004, metrics=metrics)
    seconds = dict.fromkeys(("rollout", "update", "exam", "memory", "tracking", "checkpoint", "other"), 1.0)
    told = "promoted: all well" if accepted else "refused: no gain"
    return CycleReport(number, task, "grpo", "measured", scores, scores, update, accepted, told, 640, seconds)


def adapter(folder: Path, number: int) -> str:
    """A small file where an adapter would be."""
    name = f"adapters/cycle-{number:03d}"
    (folder / name).mkdir(parents=True)
    (folder / name / "adapter_model.safetensors").write_bytes(bytes(1024))
    return name


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of `holdtrue ui`'s server on this run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(ui_command(folder, port), env={**os.environ, **QUIET}, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    fetch(f"{address}/health")
                    break
                except OSError:
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait()


def fetch(url: str, sent: Any = None) -> bytes:
    """The body of an answer."""
    data = None if sent is None else json.dumps(sent).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def opened(address: str, ids: TrackingIds) -> float:
    """Seconds until all that the page asks for is there, one after the other."""
    began = time.perf_counter()
    front = fetch(f"{address}/").decode()
    for file in re.findall(r'(?:src|href)="\.?/?(static-files/[^"]+)"', front):
        fetch(f"{address}/{file}")
    fetch(f"{address}/{API}/experiments/get?experiment_id={ids.experiment_id}")
    asked = {"experiment_ids": [ids.experiment_id], "max_results": 100, "order_by": ["attributes.start_time DESC"]}
    fetch(f"{address}/{API}/runs/search", asked)
    run = json.loads(fetch(f"{address}/{API}/runs/get?run_id={ids.timeline_run_id}"))["run"]
    for metric in run["data"]["metrics"]:
        key = urllib.parse.quote(metric["key"])
        wanted = f"run_ids={ids.timeline_run_id}&metric_key={key}&max_results=320"
        fetch(f"{address}/{API}/metrics/get-history-bulk-interval?{wanted}")
    return time.perf_counter() - began


def line(what: str, value: float, bar: str) -> None:
    """One row of the table."""
    print(f"{what:<58}{value:>9.3f}  {bar}")


def main(cycles: int, folder: Path, quick: bool) -> dict[str, float]:
    """Record, open, print."""
    spent, ids = record(folder, cycles)
    with served(folder) as address:
        opened(address, ids)  # the server's own first question migrates and imports
        page: Sequence[float] = sorted(opened(address, ids) for _ in range(1 if quick else 3))
    first, last = (float(np.median(part)) for part in (spent[1 : EDGE + 1], spent[-EDGE:]))
    print(f"\n{cycles} cycles, {len(TASKS)} tasks, {machine()}\npython -m benchmarks.judging_record\n")
    line(f"a record, seconds of a core, cycles 1 to {EDGE}", first, "")
    line(f"a record, seconds of a core, the last {EDGE}", last, "no more than at the start")
    line("a record, seconds of a core, mean of all", float(np.mean(spent)), "")
    line("the dearest of the last (figures drawn)", max(spent[-EDGE:]), "")
    line("MLflow's page, seconds", page[len(page) // 2], "<= 3")
    return {
        "record_seconds_first": first,
        "record_seconds_last": last,
        "record_seconds_mean": float(np.mean(spent)),
        f"page_seconds_{cycles}_cycles": page[len(page) // 2],
    }


if __name__ == "__main__":
    given = arguments("What a long run's record costs, and whether its page still opens.")
    with tempfile.TemporaryDirectory() as aside:
        finish(main(60 if given.quick else 1000, Path(aside), given.quick), given.json)
