"""Episodes as traces: which are chosen, that they arrive once however often they are sent, and what they show."""

import base64
import io
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from agent.rehearsal import Rehearsal
from envs.types import Action, Episode, Observation, Step, StopReason
from schedules.forked import Forked
from schedules.traces import FAILED, LONGEST, TRAINED, Sample, write
from schedules.tracking import Tracker, tracking_uri

PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def episode(name: str, task: str = "new", success: bool = True, steps: int = 2) -> Episode:
    action = Action("left", np.array([3, 4]), np.array([-0.5, -0.25], np.float32), "closed", 1, True)
    step = Step(Observation("<image>go", (PICTURE,)), ("left",), action, 0.5, 0.1, False, False, {})
    end = Observation("done")
    return Episode(name, task, 7, "g", 0, 3, "abc", (step,) * steps, end, StopReason.TERMINATED, success)


def chosen(sample: Sample) -> list[tuple[str, str]]:
    return [(found["role"], found["id"]) for found in sample.taken()]


def test_of_the_last_round_spread_over_its_groups() -> None:
    sample = Sample(2)
    sample.begin("new")
    sample.played([episode(f"first/{i}") for i in range(4)])
    sample.played([*(episode(f"last/{i}") for i in range(8)), episode("review", task="goto")])
    assert chosen(sample) == [(TRAINED, "last/0"), (TRAINED, "last/4")]
    sample.begin("goto")
    assert chosen(sample) == []


def test_failures_of_all_parts_of_the_candidates_exam_the_tasks_in_turn() -> None:
    """Two parts of one task, then another task: each part adds to what came before it; of each task the first are told.

    A share of the way is another candidate; where it is refused as well, the whole way is what the report tells of.
    """
    sample = Sample(3)
    sample.begin("new")
    sample.examined([episode(f"new/{i}", success=i == 0) for i in range(2)])
    sample.examined([episode(f"new/{i}", success=False) for i in range(2, 6)])
    sample.examined([episode(f"goto/{i}", "goto", success=i == 0) for i in range(4)])
    assert chosen(sample) == [(FAILED, "new/1"), (FAILED, "goto/1"), (FAILED, "new/2")]
    whole = chosen(sample)
    sample.at(0.75)
    sample.examined([episode("share", success=False)])
    assert chosen(sample) == [(FAILED, "share")]
    sample.at(1.0)
    assert chosen(sample) == whole
    sample.begin("new")
    assert chosen(sample) == []


def test_only_the_candidates_own_exam_is_traced() -> None:
    """What it sits is told to the sample by the candidate itself: other exams of the loop leave no trace."""
    failed = [episode("failed", success=False)]
    sample = Sample(3)
    sample.begin("new")
    loop: Any = SimpleNamespace(sample=sample, examine=lambda *_: ({}, failed), policy=SimpleNamespace(snapshot=list))
    candidate = Forked(loop, "new", cast(Rehearsal, None), None)
    loop.examine("candidate", ["new/variant"])
    assert chosen(sample) == []
    candidate.move(1.0)
    candidate.sit(["new"], range(1))
    assert chosen(sample) == [(FAILED, "failed")]
    loop.policy.restore = loop.policy.interpolate = lambda *_: None
    candidate.move(0.75)
    assert chosen(sample) == []


def test_none_where_none_are_wanted() -> None:
    sample = Sample(0)
    sample.begin("new")
    sample.played([episode("a")])
    sample.examined([episode("b", success=False)])
    assert sample.taken() == []


def test_of_a_long_episode_the_first_steps() -> None:
    sample = Sample(1)
    sample.begin("new")
    sample.played([episode("a", steps=LONGEST + 5)])
    (found,) = sample.taken()
    assert (len(found["steps"]), found["length"]) == (LONGEST, LONGEST + 5)


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> tuple[Tracker, dict[str, Any]]:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    tracker = Tracker(tmp_path)
    tracker.start("made", {})
    sample = Sample(2)
    sample.begin("new")
    sample.played([episode("a"), episode("b", success=False)])
    return tracker, {"cycle": 3, "time_ms": 1_800_000_000_000, "traces": sample.taken()}


def test_they_arrive_once_linked_and_with_pictures(place: tuple[Tracker, dict[str, Any]]) -> None:
    tracker, record = place
    assert tracker.ids is not None
    experiment, run = tracker.ids.experiment_id, tracker.ids.timeline_run_id
    threads = threading.active_count()
    for _ in range(2):
        write(tracking_uri(tracker.folder), experiment, run, record)
    assert threading.active_count() == threads, "nothing queues in a thread"
    found = tracker.client.search_traces(locations=[experiment], include_spans=True)
    assert len(found) == 2
    trace = next(t for t in found if t.info.tags["holdtrue.episode"] == "a")
    assert trace.info.trace_metadata["mlflow.sourceRun"] == run
    tags = {name: trace.info.tags[f"holdtrue.{name}"] for name in ("cycle", "adapter", "task", "role")}
    assert tags == {"cycle": "3", "adapter": "abc", "task": "new", "role": TRAINED}
    root, first, second = trace.data.spans
    assert (root.parent_id, first.parent_id, second.parent_id) == (None, root.span_id, root.span_id)
    assert root.outputs["return"] == 1.0
    assert first.name == "step 1: left"
    said = {"said": "left", "command": "1", "reward": 0.5, "cost": 0.1, "logprob": -0.75, "readable": True}
    assert first.outputs == said
    (reference,) = first.inputs["pictures"]
    key = reference.removeprefix("mlflow-attachment://").split("?")[0]
    files = [path for path in tracker.folder.rglob(key) if path.is_file()]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(files[0].read_bytes()))), PICTURE)


def test_mlflow_reads_the_reference_as_its_own(place: tuple[Tracker, dict[str, Any]]) -> None:
    from mlflow.tracing.attachments import Attachment

    from schedules.traces import _spans

    _, record = place
    pictures: dict[str, bytes] = {}
    spans = _spans("tr-1", b"x" * 16, 0, record["traces"][0], pictures)
    text = spans[1]["attributes"]["mlflow.spanInputs"]
    reference = text[text.index("mlflow-attachment") : text.index('"]')]
    parsed = Attachment.parse_ref(reference)
    assert parsed is not None
    assert parsed["content_type"] == "image/png"
    assert parsed["trace_id"] == "tr-1"
    assert pictures[str(parsed["attachment_id"])] == base64.b64decode(record["traces"][0]["steps"][0]["pictures"][0])
