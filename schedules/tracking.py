"""The run in MLflow: one timeline run (step = cycle), a child run for each cycle, adapters as registered versions.

Records come from the outbox, in order, maybe twice: recording a cycle again changes nothing. Everything lies in the
run's own folder, `mlflow.db` and `mlartifacts/`. This is the only module that imports mlflow, and it does so inside
functions: the import takes seconds.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from envs.component import UserError
from schedules import figures, lineage
from schedules.series import child_series, flat, timeline_note, timeline_series, write_csv

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Keeps MLflow silent, at home, and its server without seven idle job workers. Set before it is imported or started."""

CYCLE, KIND, RECORDED = "holdtrue.cycle", "holdtrue.kind", "holdtrue.recorded"
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
    """Writes one run's record into the MLflow database in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.stream = ""
        self.ids: TrackingIds | None = None

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
        experiment = self.client.get_experiment_by_name(stream)
        identity = experiment.experiment_id if experiment else self._create_experiment(stream)
        found = self.client.search_runs([identity], f"tags.`{KIND}` = 'timeline'", max_results=1)
        run = found[0] if found else self._create_timeline(identity, stream, params)
        self.client.set_terminated(run.info.run_id, "RUNNING")
        self.stream = stream
        self.ids = TrackingIds(tracking_uri(self.folder), identity, run.info.run_id)
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
        self._draw(ids.timeline_run_id, cycle)
        self._tags(ids.timeline_run_id, {NOTE: timeline_note(self.stream, cycle), RECORDED: str(cycle["cycle"])})

    def finish(self, status: str = "FINISHED") -> None:
        """Mark the timeline as ended: `FINISHED`, `FAILED` or `KILLED`."""
        self.client.set_terminated(self._started().timeline_run_id, status)

    # -- parts of the above -------------------------------------------------------------------------------------------

    def _started(self) -> TrackingIds:
        if self.ids is None:
            raise RuntimeError("Tracker.start comes before record and finish")
        return self.ids

    def _create_experiment(self, stream: str) -> str:
        place = (self.folder / "mlartifacts").as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}  # else the page opens as one for chat traces
        return self.client.create_experiment(stream, artifact_location=place, tags=tags)

    def _create_timeline(self, experiment: str, stream: str, params: Mapping[str, Any]) -> Any:
        from mlflow.entities import Param

        run = self.client.create_run(
            experiment, tags={KIND: "timeline", "holdtrue.stream": stream}, run_name="timeline"
        )
        named = {UNNAMEABLE.sub("_", name): str(value)[:LONGEST] for name, value in flat(params).items()}
        written = [Param(name, value) for name, value in named.items()]
        for start in range(0, len(written), 100):
            self.client.log_batch(run.info.run_id, params=written[start : start + 100])
        return run

    def _record_child(self, ids: TrackingIds, cycle: Mapping[str, Any]) -> None:
        run = self._child(ids, cycle)
        curve = [(step, {f"step/{k}": v for k, v in metrics.items()}) for step, metrics in enumerate(cycle["curve"], 1)]
        self._log(run.info.run_id, [(0, child_series(cycle)), *curve], cycle["time_ms"])
        for name in cycle["artifacts"]:
            self.client.log_artifact(run.info.run_id, str(self.folder / name))
        if cycle["adapter"]:
            self._register(run, cycle)
        self.client.set_terminated(run.info.run_id, "FINISHED", end_time=cycle["time_ms"])

    def _child(self, ids: TrackingIds, cycle: Mapping[str, Any]) -> Any:
        """The cycle's run: a new one, or the one that a kill left half written."""
        report = cycle["report"]
        mine = f"tags.`{CYCLE}` = '{report['cycle']}' and tags.`{PARENT}` = '{ids.timeline_run_id}'"
        found = self.client.search_runs([ids.experiment_id], mine, max_results=1)
        if found:
            return found[0]
        verdict = "promoted" if report["accepted"] else "refused"
        told = (report["update"].get(name) for name in ("reason", "stopped", "skipped"))
        what = f"Trained {report['task']} by {report['algorithm']}: {report['reason']}"
        note = "\n\n".join([f"**{report['verdict']}**", *(f"{text}." for text in (what, *told) if text)])
        tags = {
            PARENT: ids.timeline_run_id, KIND: "cycle", CYCLE: str(report["cycle"]), "holdtrue.task": report["task"],
            "holdtrue.algorithm": report["algorithm"], "holdtrue.verdict": verdict, "holdtrue.reason": report["reason"],
            NOTE: note, **self._lineage(cycle),
        }  # fmt: skip
        began = cycle["time_ms"] - int(1000 * sum(report["seconds"].values()))
        name = f"cycle {report['cycle']:02d} {report['task']} {verdict}"
        return self.client.create_run(ids.experiment_id, start_time=began, tags=tags, run_name=name)

    def _register(self, run: Any, cycle: Mapping[str, Any]) -> None:
        """The adapter as a version of the stream's agent; `champion` moves only if the gate let it through."""
        if not self.client.search_registered_models(f"name = '{self.stream}'"):
            self.client.create_registered_model(self.stream, description=f"Adapters of the stream {self.stream}.")
        mine = f"name = '{self.stream}' and run_id = '{run.info.run_id}'"
        versions = self.client.search_model_versions(mine)
        if not versions:
            self.client.log_artifacts(run.info.run_id, str(self.folder / cycle["adapter"]), "adapter")
            source = f"{run.info.artifact_uri}/adapter"
            tags = {CYCLE: str(cycle["cycle"]), "holdtrue.task": cycle["report"]["task"], **self._lineage(cycle)}
            told = cycle["report"]["verdict"]
            versions = [self.client.create_model_version(self.stream, source, run.info.run_id, tags, description=told)]
        if cycle["report"]["accepted"]:
            self._promote(str(versions[0].version))

    def _lineage(self, cycle: Mapping[str, Any]) -> dict[str, str]:
        return lineage.tags(lineage.read(self.folder / cycle["adapter"])) if cycle["adapter"] else {}

    def _promote(self, version: str) -> None:
        """Move `previous`, then `champion`: between the two, and after a repeat, both still name what they should."""
        champion = str(
            self.client.get_registered_model(self.stream).aliases.get("champion", "")
        )  # int or str, by store
        if champion == version:
            return
        if champion:
            self.client.set_registered_model_alias(self.stream, "previous", champion)
        self.client.set_registered_model_alias(self.stream, "champion", version)

    def _draw(self, run_id: str, cycle: Mapping[str, Any]) -> None:
        """Figures and table of the whole run so far, in the place of the last ones."""
        tasks, scores, primary, accepted = (cycle[key] for key in ("tasks", "scores", "primary", "accepted"))
        drawn = {"score_matrix": figures.score_matrix(tasks, scores, primary, accepted)}
        if primary:
            drawn["who_hurts_whom"] = figures.who_hurts_whom(tasks, scores, primary, accepted)
            drawn["learning_curve"] = figures.learning_curve(tasks, scores, cycle["scores_ci"], primary, accepted)
        with tempfile.TemporaryDirectory() as aside:
            for name, figure in drawn.items():
                figures.png(figure, Path(aside, f"{name}.png"))
            write_csv(Path(aside, "score_matrix.csv"), cycle)
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


def deliver(
    tracker: Tracker,
    stream: str,
    params: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    sent: Callable[[int], None],
) -> str:
    """Send outbox records in order and tell `sent` each cycle that is there. The first call starts the tracker.

    Returns:
        "" if all arrived, else why not: the rest stays in the outbox for the next time, and cycles go on meanwhile.
    """
    for cycle in records:
        try:
            if tracker.ids is None:
                tracker.start(stream, params)
            tracker.record(cycle)
        except Exception as error:  # MLflow passes on errors of its database, files and server, each of another kind
            number = cycle["cycle"]
            return f"MLflow did not take cycle {number} ({error}); it is kept and sent again after the next cycle."
        sent(cycle["cycle"])
    return ""


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
