"""The run in MLflow: one timeline run (step = cycle), a child run for each cycle, adapters as registered versions.

Records come from the outbox, in order, maybe twice: recording a cycle again changes nothing. Everything lies in the
run's own folder, `mlflow.db` and `mlartifacts/`. This is the only module that imports mlflow, and it does so inside
functions: the import takes seconds.
"""

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from envs.component import UserError
from schedules import figures, lineage, traces
from schedules.delivery import brief
from schedules.drift_figure import drift_timeline
from schedules.registry import CYCLE, Registry
from schedules.series import child_series, flat, timeline_note, timeline_series, verdict_of, write_csv
from schedules.story import Told
from schedules.whereabouts import KIND, STREAM, find

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
}
"""Keeps MLflow silent, at home, and its server without seven idle job workers. Set before it is imported or started."""

RECORDED, LEFT_AT = "holdtrue.recorded", "holdtrue.aliases"
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
BATCH = 1000  # MLflow's own limit of metrics in one call
LONGEST = 6000  # and of characters of a parameter
UNNAMEABLE = re.compile(r"[^\w\-. /]", re.ASCII)  # what it lets no metric or parameter be called


@dataclass(frozen=True, slots=True)
class TrackingIds:
    """Where a run is found in MLflow."""

    tracking_uri: str
    experiment_id: str
    timeline_run_id: str


class Tracker:
    """Writes one run's record into the MLflow database in `folder`.

    Attributes:
        failed: something went wrong since `start`, which may find what can be mended.
        telling: it is being told what waits; still so where that was broken off.
        anew: the timeline was made by `start`: there was none.
        status_before: the timeline's before `start` set it to running.
        notes: sentences on what somebody had changed by hand, and how it was mended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.stream = ""
        self.ids: TrackingIds | None = None
        self.anew, self.failed, self.telling = False, False, False
        self.status_before = "FINISHED"
        self.notes: list[str] = []
        self._undrawn: Mapping[str, Any] | None = None

    @cached_property
    def client(self) -> Any:
        """MLflow's client; the first use migrates a new database, which takes seconds."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=tracking_uri(self.folder), registry_uri=tracking_uri(self.folder))

    def start(self, stream: str, params: Mapping[str, Any]) -> TrackingIds:
        """Open the stream's experiment and timeline, or find those of the run that is being resumed.

        Args:
            params: nested settings; written once, with dotted names.
        """
        place = find(
            self.client, stream, self._create_experiment, lambda within: self._create_timeline(within, stream, params)
        )
        run = place.timeline.info
        self.anew, self.status_before = place.anew, "FINISHED" if place.anew else run.status
        self.notes += place.notes
        self.client.set_terminated(run.run_id, "RUNNING")
        self.stream = stream
        self.ids = TrackingIds(tracking_uri(self.folder), place.experiment_id, run.run_id)
        return self.ids

    def record(self, cycle: Mapping[str, Any]) -> None:
        """Write one record of `schedules.report.tracking_record`, unless it is there already."""
        ids = self._started()
        tags = self.client.get_run(ids.timeline_run_id).data.tags
        if int(tags.get(RECORDED, -1)) >= cycle["cycle"]:
            return
        self._log(ids.timeline_run_id, [(cycle["cycle"], timeline_series(cycle))], cycle["time_ms"])
        if cycle["report"] is not None:
            self._record_child(ids, cycle)
        self._align(ids, cycle, tags)
        self._undrawn = cycle
        if drawn_after(cycle["cycle"]):
            self._draw(ids.timeline_run_id)
        self._tags(ids.timeline_run_id, {NOTE: timeline_note(self.stream, cycle), RECORDED: str(cycle["cycle"])})

    def finish(self, status: str = "FINISHED", story: Told | None = None) -> str:
        """Draw what is not drawn yet and mark the timeline as ended: `FINISHED`, `FAILED` or `KILLED`.

        Args:
            story: of a life, as it is now: its picture is drawn anew.

        Returns:
            Why MLflow did not take that; "" if it did.
        """
        run, ended = self._started().timeline_run_id, f"that the run is {status.lower()}"
        what = f"the last figures and {ended}"
        try:
            self._draw(run)
            if story is not None:
                self._upload(run, {"drift_timeline": _drawn(story)})
            what = ended
            self.client.set_terminated(run, status)
        except Exception as error:  # as in `deliver`
            return f"MLflow did not take {what} ({brief(error)}); nothing else is missing."
        return ""

    # -- parts of the above -------------------------------------------------------------------------------------------

    def _started(self) -> TrackingIds:
        if self.ids is None:
            raise RuntimeError("Tracker.start comes before record and finish")
        return self.ids

    def _create_experiment(self, stream: str) -> str:
        place = (self.folder / "mlartifacts").as_uri()
        kind = "custom_model_development"  # else the page opens as one for chat traces
        tags = {STREAM: stream, "mlflow.experimentKind": kind}
        return self.client.create_experiment(stream, artifact_location=place, tags=tags)

    def _create_timeline(self, experiment: str, stream: str, params: Mapping[str, Any]) -> Any:
        from mlflow.entities import Param

        run = self.client.create_run(experiment, tags={KIND: "timeline", STREAM: stream}, run_name="timeline")
        named = {UNNAMEABLE.sub("_", name): str(value)[:LONGEST] for name, value in flat(params).items()}
        written = [Param(name, value) for name, value in named.items()]
        for start in range(0, len(written), 100):
            self.client.log_batch(run.info.run_id, params=written[start : start + 100])
        return run

    def _record_child(self, ids: TrackingIds, cycle: Mapping[str, Any]) -> None:
        run = self._child(ids, cycle)
        curve = [(step, {f"step/{k}": v for k, v in metrics.items()}) for step, metrics in enumerate(cycle["curve"], 1)]
        self._log(run.info.run_id, [(0, child_series(cycle)), *curve], cycle["time_ms"])
        traces.write(ids.tracking_uri, ids.experiment_id, run.info.run_id, cycle)
        for name in cycle["artifacts"]:
            self.client.log_artifact(run.info.run_id, str(self.folder / name))
        if cycle["adapter"]:
            tags = {"holdtrue.task": cycle["report"]["task"], **self._lineage(cycle)}
            registry = Registry(self.client, self.stream, self.folder)
            registry.register(run, cycle["cycle"], cycle["adapter"], tags, cycle["report"]["verdict"])
        self.client.set_terminated(run.info.run_id, "FINISHED", end_time=cycle["time_ms"])

    def _child(self, ids: TrackingIds, cycle: Mapping[str, Any]) -> Any:
        """The cycle's run: a new one, or the one that a kill left half written."""
        report = cycle["report"]
        found = self._found_child(ids, report["cycle"])
        if found is not None:
            return found
        verdict = verdict_of(report)
        told = (report["update"].get(name) for name in ("reason", "stopped", "skipped"))
        trained = f"Trained {report['task']} by {report['algorithm']}" if report["task"] else "Rollback"
        what = f"{trained}: {report['reason']}"
        note = "\n\n".join([f"**{report['verdict']}**", *(f"{text}." for text in (what, *told) if text)])
        tags = {
            PARENT: ids.timeline_run_id, KIND: "cycle", CYCLE: str(report["cycle"]), "holdtrue.task": report["task"],
            "holdtrue.algorithm": report["algorithm"], "holdtrue.verdict": verdict, "holdtrue.reason": report["reason"],
            NOTE: note, **self._lineage(cycle),
        }  # fmt: skip
        began = cycle["time_ms"] - int(1000 * sum(report["seconds"].values()))
        name = " ".join(filter(None, [f"cycle {report['cycle']:02d}", report["task"], verdict]))
        return self.client.create_run(ids.experiment_id, start_time=began, tags=tags, run_name=name)

    def _found_child(self, ids: TrackingIds, number: int) -> Any:
        """The run of a cycle, or None."""
        mine = f"tags.`{CYCLE}` = '{number}' and tags.`{PARENT}` = '{ids.timeline_run_id}'"
        found = self.client.search_runs([ids.experiment_id], mine, max_results=1)
        return found[0] if found else None

    def _lineage(self, cycle: Mapping[str, Any]) -> dict[str, str]:
        return lineage.tags(lineage.read(self.folder / cycle["adapter"])) if cycle["adapter"] else {}

    def _align(self, ids: TrackingIds, cycle: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """The registry's aliases as the run's database has them; what they were left at is a tag of the timeline."""
        left = json.loads(tags.get(LEFT_AT, "{}"))

        def child_of(number: int) -> Any:
            return self._found_child(ids, number)

        now, notes = Registry(self.client, self.stream, self.folder).align(cycle["standing"], left, child_of)
        self.notes += notes
        if now != left:
            self._tags(ids.timeline_run_id, {LEFT_AT: json.dumps(now)})

    def _draw(self, run_id: str) -> None:
        """Figures and table of the whole run so far, in the place of the last ones, unless they are drawn already."""
        cycle, self._undrawn = self._undrawn, None
        if cycle is None:
            return
        tasks, scores, primary, accepted = (cycle[key] for key in ("tasks", "scores", "primary", "accepted"))
        drawn = {"score_matrix": figures.score_matrix(tasks, scores, primary, accepted)}
        if primary:
            drawn["who_hurts_whom"] = figures.who_hurts_whom(tasks, scores, primary, accepted)
            drawn["turnover"] = figures.turnover(tasks, cycle["turned"], primary, accepted)
            drawn["learning_curve"] = figures.learning_curve(tasks, scores, cycle["scores_ci"], primary, accepted)
        if story := cycle.get("story"):
            drawn["drift_timeline"] = _drawn(story)
        self._upload(run_id, drawn, cycle)

    def _upload(self, run_id: str, drawn: Mapping[str, Figure], table: Mapping[str, Any] | None = None) -> None:
        with tempfile.TemporaryDirectory() as aside:
            for name, figure in drawn.items():
                figures.png(figure, Path(aside, f"{name}.png"))
            if table is not None:
                write_csv(Path(aside, "score_matrix.csv"), table)
            self.client.log_artifacts(run_id, aside)

    def _log(self, run_id: str, points: Iterable[tuple[int, Mapping[str, Any]]], time_ms: int) -> None:
        """Metrics as (step, series) in as few calls as possible; None is left out: it was never measured."""
        from mlflow.entities import Metric

        metrics = [
            Metric(UNNAMEABLE.sub("_", name), float(value), time_ms, step)
            for step, series in points
            for name, value in series.items()
            if value is not None
        ]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def _tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _drawn(story: Told) -> Figure:
    return drift_timeline(story.lived, story.alarms, story.promotions, story.drifts, story.rollbacks)


def drawn_after(cycle: int) -> bool:
    """Whether figures are drawn after this cycle: each of the first 50, then ever fewer, about 25 times a doubling.

    Drawing costs more the longer a run is; so its share of a cycle doesn't grow. The last is drawn at the end anyway.
    """
    return cycle % max(1, cycle // 25) == 0


def tracking_uri(folder: Path) -> str:
    """The run's own database."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def ui_command(folder: Path, port: int = 5000) -> list[str]:
    """The command that shows this run in MLflow, on this machine only. Run it with `QUIET` in its environment.

    Raises:
        UserError: there is no record in the folder.
    """
    if not (folder / "mlflow.db").is_file():
        raise UserError(f"{folder} holds no MLflow record. Give a run's folder, or begin one: holdtrue run default")
    place = (folder.resolve() / "mlartifacts").as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri(folder)]
    return [*command, "--default-artifact-root", place, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def page(ids: TrackingIds, port: int = 5000) -> str:
    """Address of the timeline's series in the browser, in MLflow's layout for training."""
    run = f"experiments/{ids.experiment_id}/runs/{ids.timeline_run_id}"
    return f"http://127.0.0.1:{port}/#/{run}/model-metrics?workflowType=machine_learning"
