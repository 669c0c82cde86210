"""Where a stream's record lies in MLflow: its experiment and timeline, found again whatever somebody did to them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

STREAM, KIND = "holdtrue.stream", "holdtrue.kind"
ALL = 3  # MLflow's ViewType: active and deleted


@dataclass(slots=True)
class Whereabouts:
    """An experiment and the run in it that is the timeline.

    Attributes:
        anew: there was no timeline: all that was ever told is to be told again.
        notes: a sentence on each thing that was mended.
    """

    experiment_id: str
    timeline: Any
    anew: bool
    notes: list[str] = field(default_factory=list)


def find(
    client: Any, stream: str, make_experiment: Callable[[str], str], make_timeline: Callable[[str], Any]
) -> Whereabouts:
    """The record of `stream`: found by its tag, for a person may rename it; brought back if it was deleted."""
    notes: list[str] = []
    experiment = _experiment(client, stream)
    if experiment is None:
        identity = make_experiment(stream)
        return Whereabouts(identity, make_timeline(identity), anew=True)
    identity = experiment.experiment_id
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(identity)
        notes.append(f"The experiment {experiment.name} was deleted by hand in MLflow: it is restored.")
    if experiment.name != stream:
        notes.append(f"The experiment {stream} is called {experiment.name} in MLflow now: its record goes on there.")
    found = client.search_runs([identity], f"tags.`{KIND}` = 'timeline'", run_view_type=ALL, max_results=1)
    if not found:
        return Whereabouts(identity, make_timeline(identity), anew=True, notes=notes)
    (timeline,) = found
    if timeline.info.lifecycle_stage == "deleted":
        client.restore_run(timeline.info.run_id)
        notes.append("The timeline was deleted by hand in MLflow: it is restored.")
    return Whereabouts(identity, timeline, anew=False, notes=notes)


def _experiment(client: Any, stream: str) -> Any:
    tagged = client.search_experiments(view_type=ALL, filter_string=f"tags.`{STREAM}` = '{stream}'")
    return tagged[0] if tagged else client.get_experiment_by_name(stream)
