"""The exam: frozen seeds that no training meets, named by a hash; variants, which no figure counts; exams within."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from streams import small_stream, write_stream

from envs.collect import WorldPool
from schedules import loop as loop_module
from schedules.checkpoint import Committed
from schedules.cli import main
from schedules.config import StreamSettings, effective
from schedules.controls import Constant
from schedules.cycle import drain
from schedules.exam import FIRST_EXAM_SEED, exam_facts, exam_tickets, readable_share, sit
from schedules.forked import examined_within
from schedules.metrics import ScoreMatrix
from schedules.seeds import training_seed
from schedules.timeline import timeline
from schedules.variants import names_of, run_facts, variants_json, worlds_of

SAID = {"said": [{"type": "wording", "template": "Dear robot, {text}"}]}


def test_exam_seeds_are_frozen_and_disjoint_from_training() -> None:
    """2000 training seeds, and the largest there can be, lie below the first exam seed."""
    seeds = {ticket.seed for ticket in exam_tickets("goto", range(128))}
    assert seeds == set(range(FIRST_EXAM_SEED, FIRST_EXAM_SEED + 128))
    assert max(training_seed(0, k) for k in range(2000)) < FIRST_EXAM_SEED
    assert not seeds & {training_seed(seed, k) for seed in range(20) for k in range(100)}


def test_the_hash_names_regimes_and_seeds() -> None:
    """Known once and for all: another value means that scores of older runs can't be compared any more."""
    assert exam_facts(["goto"], 128) == {"seeds_hash": "eb7aa3759b5815db", "episodes": 128}
    others = [exam_facts(["goto"], 127), exam_facts(["exchanged"], 128), exam_facts(["goto", "exchanged"], 128)]
    assert len({facts["seeds_hash"] for facts in others} | {"eb7aa3759b5815db"}) == 4


def stream_of(tiny_folder: Path, **changes: Any) -> StreamSettings:
    return effective(StreamSettings.model_validate(small_stream(tiny_folder, **changes)))


def hazard() -> WorldPool:
    settings = {"regimes": {"hazard": {"world": {"id": "envs.hazard:Hazard-v0", "success": {"info": "success"}}}}}
    stream = StreamSettings.model_validate(small_stream(Path("unused"), cycles=[], **settings) | {
        "cycles": [{"task": "hazard", "update": {"type": "grpo"}}]
    })  # fmt: skip
    return WorldPool(worlds_of(stream))


def test_parts_of_an_exam_are_the_exam_and_carry_what_each_episode_cost() -> None:
    """Always pouring costs what is spilt: brim 9 less the mark; who always stops costs nothing."""
    pool = hazard()
    whole, played = sit(Constant("+"), ["hazard"], 16, pool, 8)
    first, second = (sit(Constant("+"), ["hazard"], part, pool, 8)[0]["hazard"] for part in (range(8), range(8, 16)))
    assert whole["hazard"].success == first.success + second.success
    assert whole["hazard"].cost == first.cost + second.cost
    assert whole["hazard"].cost == tuple(sum(step.cost for step in episode.steps) for episode in played)
    assert 3 < whole["hazard"].mean_cost < 5
    assert sit(Constant("-"), ["hazard"], 8, pool, 8)[0]["hazard"].cost == ()
    assert readable_share(played, "hazard") == 1.0
    assert readable_share(played, "another") == 1.0
    pool.close()


# -- variants ---------------------------------------------------------------------------------------------------------


def varied(tiny_folder: Path, **changes: Any) -> dict[str, Any]:
    settings = small_stream(tiny_folder, **changes)
    settings["regimes"]["renamed"]["variants"] = SAID
    return settings


def test_a_variant_is_the_regime_s_world_and_its_drift_on_top(tiny_folder: Path) -> None:
    stream = effective(StreamSettings.model_validate(varied(tiny_folder)))
    worlds = worlds_of(stream)
    assert list(worlds) == ["copycat", "renamed", "renamed/said"]
    assert [drift["type"] for drift in worlds["renamed/said"].drift] == ["renamed", "wording"]
    assert [regime.name for regime in timeline(stream)] == ["copycat", "renamed"], "no column of the score matrix"
    assert names_of(stream, ["copycat"]) == []
    assert run_facts(stream)["never_trained"] == []
    assert run_facts(stream)["seeds_hash"] == exam_facts(list(worlds), 8)["seeds_hash"]


def test_a_regime_that_no_cycle_trains_is_told_of(tiny_folder: Path) -> None:
    cycles = small_stream(tiny_folder)["cycles"][:1]
    assert run_facts(stream_of(tiny_folder, cycles=cycles))["never_trained"] == ["copycat"]


def test_a_life_trains_what_was_due_and_not_what_was_planned(tiny_folder: Path) -> None:
    """Its plan trains both; its only cycle so far trained `renamed`, and a rollback trained nothing."""
    told = [Committed(i, {"task": task}, {}, "") for i, task in enumerate(["", "renamed", ""])]
    assert run_facts(stream_of(tiny_folder), told)["never_trained"] == ["copycat"]
    assert run_facts(stream_of(tiny_folder))["never_trained"] == []


@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ({"said": []}, "variants.said is empty: it would be the regime itself. Give it a drift."),
        ({"said": [{"type": "wordin"}]}, "variants.said: .*Did you mean 'wording'"),
        ({"said": [{"type": "wording"}]}, "variants.said: .*it changes nothing"),
        ({"a/b": SAID["said"]}, "pattern"),
    ],
)
def test_a_wrong_variant_is_named(tiny_folder: Path, variants: Any, told: str) -> None:
    settings = small_stream(tiny_folder)
    settings["regimes"]["renamed"]["variants"] = variants
    with pytest.raises(ValidationError, match=told):
        StreamSettings.model_validate(settings)


def test_a_regime_must_not_have_a_variant_s_name(tiny_folder: Path) -> None:
    settings = varied(tiny_folder)
    settings["regimes"]["renamed/said"] = settings["regimes"]["copycat"]
    with pytest.raises(ValidationError, match=r"regimes\.renamed/said has the name of a variant of renamed"):
        StreamSettings.model_validate(settings)


@pytest.fixture(scope="module")
def runs(tiny_folder: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Reports of one stream with a variant and without; in both the first cycle is kept and the second too."""
    reports = {}
    for name, settings in (("with", varied(tiny_folder)), ("without", small_stream(tiny_folder))):
        folder = tmp_path_factory.mktemp(name) / "run"
        folder.mkdir()
        shutil.copy(migrated, folder / "mlflow.db")
        assert main(["run", str(write_stream(folder.parent / "small.yaml", settings)), "--dir", str(folder)]) == 0
        reports[name] = json.loads((folder / "report.json").read_text())
        reports[name]["files"] = [p.read_bytes() for p in sorted(folder.glob("adapters/*/*.safetensors"))]
    return reports


def test_variants_are_examined_and_change_nothing_else(runs: dict[str, dict[str, Any]]) -> None:
    """Scores, figures, verdicts and adapters to the byte; only decisions and what was played have grown."""
    there, here = runs["with"], runs["without"]
    assert there["variants"]["names"] == ["renamed/said"]
    assert [len(row) for row in there["variants"]["scores"]] == [1, 1, 1]
    assert all(row[0] is not None for row in there["variants"]["scores"])
    assert here["variants"] == {"names": [], "scores": [[], [], []], "scores_ci": [[], [], []]}
    for key in ("tasks", "scores", "average_success", "forgetting", "backward_transfer", "files", "turnover"):
        assert there[key] == here[key]
    for one, other in zip(there["cycles"], here["cycles"], strict=True):
        assert (one["verdict"], one["after"]) == (other["verdict"], other["after"])
        assert one["exam"]["played"] == other["exam"]["played"] + 8
        assert set(one["variants"]) == {"renamed/said"}
    assert there["cycles"][0]["exam"] == {**exam_facts(["copycat", "renamed"], 8), "played": 2 * 8 + 8}
    assert [set(of_cycle) for of_cycle in there["turnover"]] == [{"copycat", "renamed"}] * 2


def test_a_refused_cycle_keeps_the_row_of_variants_and_examines_none(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = {"min_gain": 0.99, "min_exam": 8, "reload": "same"}
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    asked: list[list[str]] = []
    real = loop_module.sit
    monkeypatch.setattr(
        loop_module, "sit", lambda a, tasks, *more: (asked.append(list(tasks)), real(a, tasks, *more))[1]
    )
    stream = write_stream(tmp_path / "small.yaml", varied(tiny_folder, gate=gate))
    assert main(["run", str(stream), "--dir", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert asked.count(["renamed/said"]) == 1, "before any cycle"
    assert report["variants"]["scores"][0] == report["variants"]["scores"][2]


def test_variants_of_a_world_that_is_gone_are_null() -> None:
    stream = SimpleNamespace(regimes={"a": SimpleNamespace(variants=SAID)})
    cell = {"seeds": [1, 2], "success": [1, 0]}
    committed = [Committed(0, {}, {"variants": {"a/said": cell}}, ""), Committed(1, {}, {"variants": {}}, "")]
    told = variants_json(stream, [*committed, Committed(2, {}, {}, "")])
    assert told["scores"] == [[0.5], [None], [None]]


# -- within a cycle ---------------------------------------------------------------------------------------------------


def test_the_lowest_score_within_a_cycle_is_kept(tiny_folder: Path) -> None:
    """Every second of five steps: exams at 2 and 4, of the old skill alone; the update goes on as without."""
    stream = stream_of(tiny_folder, exam={"episodes": 8, "within": 2})
    scores = iter([0.25, 0.75])
    asked: list[tuple[str, list[str]]] = []

    def examine(adapter: str, tasks: list[str]) -> Any:
        asked.append((adapter, tasks))
        return {name: SimpleNamespace(mean=next(scores)) for name in tasks}, []

    loop = SimpleNamespace(
        stream=stream, next_cycle=1, within={}, examine=examine, skills=lambda cycle, task: ["copycat"],
        matrix=ScoreMatrix.start(timeline(stream), {}),
    )  # fmt: skip

    def update() -> Any:
        for k in range(5):
            yield {"step": k}
        return "report"

    steps = examined_within(loop, "renamed", update())
    seen: list[Any] = []
    display = SimpleNamespace(step=print)
    draining = SimpleNamespace(curve=seen, progress=display, phase=nullcontext, turn=lambda: None)
    assert drain(draining, steps) == "report"
    assert seen == [{"step": k} for k in range(5)]
    assert asked == [("candidate", ["copycat"])] * 2
    assert loop.within == {"copycat": 0.25}


def test_without_it_no_exam_is_sat_within(tiny_folder: Path) -> None:
    loop = SimpleNamespace(stream=stream_of(tiny_folder), within={})
    assert np.size(list(examined_within(loop, "renamed", iter([{"a": 1.0}])))) == 1  # type: ignore[arg-type]
