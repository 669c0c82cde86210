"""Pages of docs/ can't rot: every YAML on them loads, and their tables are the settings with their defaults.

A page's YAML is a whole stream, or a part of one: `update` of a cycle, `world`, `rewards` and `variants` of a regime,
`memory`, `drift`, `exam`, `gate`, `tracking`.
Of a setting that is itself settings, the page has those of the inside, as `stop.kl`.
"""

import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import to_jsonable_python

from agent.annotators import oracle
from agent.learner import UpdateSettings
from agent.rewards import CostBound, RewardSettings
from envs.component import Settings, names
from envs.multimodal import make_world
from schedules.config import StreamSettings, effective
from schedules.exam import ExamSettings
from schedules.gate import GateSettings
from schedules.plans import MemoryPlan, TrackingPlan
from schedules.serving import LifePhase, ServiceSettings, TriggerPlan
from schedules.watch import DriftSettings

DOCS = Path(__file__).parents[2] / "docs"
FILES = {f"{page.parent.name}/{page.stem}": page for page in sorted(DOCS.glob("*/*.md"))}
PAGES = {name: page.read_text(encoding="utf-8") for name, page in FILES.items()}
BLOCKS = [(name, text) for name, page in PAGES.items() for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
ROW = re.compile(r"^\| `([\w.]+)` \| `([^`]+)` \|", re.MULTILINE)
SHARED_PAGE = {"rloo": "grpo", "reinforce": "grpo"}
MEMORY_PAGES = {
    "retention": ("capacity", "capacity_mb", "pair_capacity", "durability", "retention"),
    "recall": ("on", "lived", "rehearsal_steps", "recall", "examples"),
}
WORLD = {"id": "envs.cards:NumberLine-v0", "success": {"info": "success"}}
Rows = set[tuple[str, str]]


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """The stream that `part` is, or a minimal one around it."""
    if "stream" in part:
        return part
    of_regime, of_stream = ("world", "rewards", "variants"), ("memory", "drift", "exam", "gate", "tracking")
    assert part.keys() <= {*of_regime, *of_stream, "update"}
    regime = {"world": WORLD, **{key: part[key] for key in of_regime if key in part}}
    cycle = {"task": "task", "update": part.get("update", {"type": "grpo"})}
    parts = {key: part.get(key, {}) for key in of_stream}
    return {"stream": "part", "regimes": {"task": regime}, "cycles": [cycle], **parts}


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_every_yaml_loads(page: str, block: str) -> None:
    stream = effective(StreamSettings.model_validate(whole(yaml.safe_load(block))))
    for regime in stream.regimes.values():
        make_world(regime.world).close()
    for plan in stream.cycles:
        plan.build()
    assert effective(stream) == stream, "some default is not filled in"


def settings_of(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and defaults, as JSON, of the settings that a model itself declares."""
    for name in inspect.get_annotations(model):
        field = model.model_fields.get(name)
        if field is None:  # a class variable
            continue
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, Settings):
            yield from settings_of(type(default), f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(to_jsonable_python(default))


def wanted() -> dict[str, Rows]:
    """For each page the rows that its tables must have."""
    rows: dict[str, Rows] = {page: set() for page in PAGES}
    for name in names("agent.updates"):
        for model in import_module(f"agent.updates.{name}").Config.__mro__:
            if issubclass(model, Settings) and model is not Settings:
                page = "README" if model is UpdateSettings else SHARED_PAGE.get(name, name)
                rows.setdefault(f"updates/{page}", set()).update(settings_of(model))
    for name in names("agent.annotators"):
        rows["updates/annotators"].update(settings_of(import_module(f"agent.annotators.{name}").Config))
    rows["updates/annotators"].update(settings_of(oracle.Drift, "drift."))
    rows["updates/rewards"].update([*settings_of(RewardSettings), *settings_of(CostBound, "cost.")])
    rows["judging/exam"].update(settings_of(ExamSettings))
    rows["judging/gate"].update(settings_of(GateSettings))
    rows["judging/mlflow"].update(settings_of(TrackingPlan, "tracking."))
    for kind, of_stream in MEMORY_PAGES.items():
        rows[f"memory/{kind}"].update(row for row in settings_of(MemoryPlan) if row[0] in of_stream)
        for name in names(f"memory.{kind}"):
            config = import_module(f"memory.{kind}.{name}").Config
            rows[f"memory/{kind}"].update(settings_of(config, f"{name}."))
    service = rows.setdefault("judging/service", set())
    for prefix, model in (("", ServiceSettings), ("life.", LifePhase), ("triggers.", TriggerPlan)):
        service.update(settings_of(model, prefix))
    for name in names("schedules.triggers"):
        service.update(settings_of(import_module(f"schedules.triggers.{name}").Config, f"{name}."))
    rows["judging/drift"].update(settings_of(DriftSettings))
    for name in names("schedules.drift"):
        rows["judging/drift"].update(settings_of(import_module(f"schedules.drift.{name}").Config, f"{name}."))
    return rows


@pytest.mark.parametrize("page", wanted())
def test_tables_are_the_settings_with_their_defaults(page: str) -> None:
    told = {(name, json.dumps(yaml.safe_load(default))) for name, default in ROW.findall(PAGES.get(page, ""))}
    assert told == wanted()[page], f"docs/{page}.md: mend the rows that differ"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert (FILES[page].parent / link).exists(), link


@pytest.mark.parametrize(
    ("page", "folder"),
    [*((f"memory/{kind}", f"memory.{kind}") for kind in MEMORY_PAGES), ("judging/drift", "schedules.drift")],
)
def test_every_component_is_told_of(page: str, folder: str) -> None:
    told = re.findall(r"^- \*\*`(\w+)`\*\*: ", PAGES[page], re.MULTILINE)
    assert sorted(told) == names(folder)
