"""Episodes as MLflow traces: a step a span, with its pictures, what was said, its log-prob, reward and cost.

A few of each cycle: of the trained task as it was played last, and failures of the candidate's exam. They wait in the
outbox with their cycle and are written by MLflow's store, in the caller's thread and under ids that derive from the
run, cycle and episode: nothing queues, nothing is dropped, and a repeat writes nothing twice.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from typing import Any

import numpy as np
from PIL import Image

from envs.types import Episode, Observation, Step

LONGEST = 64
"""Steps of an episode that are traced; of a longer one the first."""
TRAINED, FAILED = "trained", "exam failure"


class Sample:
    """Chooses up to `most` episodes of each kind, by order alone: a repeated cycle chooses the same."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.begin("")

    def begin(self, task: str) -> None:
        """A cycle that trains `task`."""
        self.task = task
        self._trained: list[Episode] = []
        self._failed: dict[float, dict[str, list[Episode]]] = {}
        self.at(1.0)

    def at(self, share: float) -> None:
        """The candidate is at this share of the way; failures of where it is at last are the chosen ones."""
        self._here = self._failed.setdefault(share, {})

    def played(self, episodes: Sequence[Episode]) -> None:
        """Fresh episodes; those of the last round stay, spread over its groups."""
        own = [episode for episode in episodes if episode.task == self.task]
        if own and self.most:
            self._trained = own[:: max(1, len(own) // self.most)][: self.most]

    def examined(self, episodes: Sequence[Episode]) -> None:
        """A part of the candidate's exam."""
        for episode in episodes:
            failed = self._here.setdefault(episode.task, [])
            if not episode.success and len(failed) < self.most:
                failed.append(episode)

    def taken(self) -> list[dict[str, Any]]:
        """The chosen, as JSON-able data with their pictures."""
        turns = [episode for turn in zip_longest(*self._here.values()) for episode in turn if episode is not None]
        chosen = {TRAINED: self._trained, FAILED: turns[: self.most]}
        return [_episode(role, episode) for role, episodes in chosen.items() for episode in episodes]


def _episode(role: str, episode: Episode) -> dict[str, Any]:
    return {
        "role": role,
        "id": episode.id,
        "task": episode.task,
        "seed": episode.seed,
        "adapter": episode.policy_version,
        "success": episode.success,
        "stop": str(episode.stop),
        "return": sum(step.reward for step in episode.steps),
        "length": len(episode.steps),
        "steps": [_step(step) for step in episode.steps[:LONGEST]],
    }


def _step(step: Step) -> dict[str, Any]:
    action = step.action
    return {
        **_seen(step.observation),
        "said": action.text,
        "command": repr(action.command),
        "readable": action.readable,
        "logprob": float(np.sum(action.logprobs)),
        "reward": step.reward,
        "cost": step.cost,
    }


def _seen(observation: Observation) -> dict[str, Any]:
    return {"text": observation.text, "pictures": [_png(picture) for picture in observation.images]}


def _png(picture: np.ndarray) -> str:
    written = BytesIO()
    Image.fromarray(picture).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


# -------------------------------------------------------------------------------------------------------- to MLflow


def write(tracking_uri: str, experiment: str, run: str, cycle: Mapping[str, Any]) -> None:
    """Write the traces of a cycle's record, linked to its run; those that are there stay as they are.

    Args:
        run: id of the run whose page shows them.
        cycle: a record with `traces`, `cycle` and `time_ms`.
    """
    if not cycle.get("traces"):
        return
    from mlflow.tracing.client import TracingClient

    client = TracingClient(tracking_uri)
    for number, trace in enumerate(cycle["traces"]):
        _write(client, experiment, run, cycle, trace, number)


def _write(
    client: Any, experiment: str, run: str, cycle: Mapping[str, Any], trace: Mapping[str, Any], number: int
) -> None:
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

    name = _digest(f"{run}/{cycle['cycle']}/{trace['role']}/{trace['id']}", 16)
    identity = f"tr-{name.hex()}"
    began = cycle["time_ms"] + 100 * number  # no clock is in an episode: a step takes a millisecond here
    pictures: dict[str, bytes] = {}
    spans = _spans(identity, name, began, trace, pictures)
    info = TraceInfo(
        trace_id=identity,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=began,
        execution_duration=len(spans),
        state=TraceState.OK,
        request_preview=f"{trace['task']}: {trace['steps'][0]['text']}"[:200] if trace["steps"] else trace["task"],
        response_preview=f"{'success' if trace['success'] else 'failure'} after {trace['length']} steps",
        trace_metadata={"mlflow.sourceRun": run},
        tags={
            "mlflow.traceName": f"cycle {cycle['cycle']} {trace['role']}: {trace['task']}",
            "holdtrue.cycle": str(cycle["cycle"]),
            "holdtrue.adapter": trace["adapter"],
            "holdtrue.task": trace["task"],
            "holdtrue.role": trace["role"],
            "holdtrue.episode": trace["id"],
        },
    )
    made = client.start_trace(info)
    client.log_spans(experiment, [Span.from_dict(span) for span in spans])
    place = client._get_artifact_repo_for_trace(made)
    for picture, content in pictures.items():
        place.upload_attachment(picture, content)


def _spans(
    identity: str, name: bytes, began: int, trace: Mapping[str, Any], pictures: dict[str, bytes]
) -> list[dict[str, Any]]:
    """The episode and its steps as spans in MLflow's own JSON; fills `pictures` by attachment id."""
    about = {key: value for key, value in trace.items() if key not in ("steps", "id")}
    told = f"{trace['length']} steps, the first {LONGEST} are here" if trace["length"] > LONGEST else trace["length"]
    root = _digest(f"{identity}/root", 8)
    steps = trace["steps"]
    whole = {"inputs": {"task": trace["task"], "seed": trace["seed"]}, "outputs": {"steps": told, **about}}
    spans = [_span(identity, name, root, None, f"episode of {trace['task']}", "AGENT", began, len(steps) + 1, whole)]
    for place, step in enumerate(steps):
        shown: list[str] = []
        for encoded in step["pictures"]:
            picture = base64.b64decode(encoded)
            key = _digest(f"{identity}/{place}/{len(shown)}", 16).hex()
            key = "-".join([key[:8], key[8:12], key[12:16], key[16:20], key[20:]])
            pictures[key] = picture
            shown.append(f"mlflow-attachment://{key}?content_type=image%2Fpng&trace_id={identity}&size={len(picture)}")
        numbers = {key: step[key] for key in ("reward", "cost", "logprob", "readable")}
        said = {"said": step["said"], "command": step["command"], **numbers}
        content = {"inputs": {"text": step["text"], "pictures": shown}, "outputs": said, **numbers}
        own = _digest(f"{identity}/{place}", 8)
        title = f"step {place + 1}: {step['said']}"[:80]
        spans.append(_span(identity, name, own, root, title, "TOOL", began + place, 1, content))
    return spans


def _span(
    identity: str,
    name: bytes,
    own: bytes,
    parent: bytes | None,
    title: str,
    kind: str,
    began: int,
    lasted: int,
    content: Mapping[str, Any],
) -> dict[str, Any]:
    """Times in milliseconds; attributes are JSON texts, as MLflow keeps them."""
    special = {"inputs": "mlflow.spanInputs", "outputs": "mlflow.spanOutputs"}
    attributes = {special.get(key, f"holdtrue.{key}"): value for key, value in content.items()}
    attributes |= {"mlflow.traceRequestId": identity, "mlflow.spanType": kind}
    return {
        "trace_id": base64.b64encode(name).decode(),
        "span_id": base64.b64encode(own).decode(),
        "parent_span_id": base64.b64encode(parent).decode() if parent else None,
        "name": title,
        "start_time_unix_nano": began * 1_000_000,
        "end_time_unix_nano": (began + lasted) * 1_000_000,
        "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {key: json.dumps(value) for key, value in attributes.items()},
    }


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=size).digest()
