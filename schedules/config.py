"""A stream's settings: the YAML file as a validated model, and errors a person can act on."""

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from agent.learner import Update
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.speech import Speech
from envs.component import Settings, UserError, WrongPart, filled, load
from schedules.exam import ExamSettings
from schedules.gate import GateSettings
from schedules.plans import MemoryPlan, TrackingPlan
from schedules.regime import RegimeSettings
from schedules.serving import ServiceSettings
from schedules.watch import DriftSettings
from schedules.yaml12 import read_yaml

BUNDLED = Path(__file__).parent / "streams"


class CyclePlan(Settings):
    """A planned cycle: which regime it trains, and how.

    `update` names a component of `agent/updates`; a list of them is done one after the other.
    """

    task: str
    update: dict[str, Any]

    @field_validator("update", mode="before")
    @classmethod
    def _stages(cls, value: Any) -> Any:
        return {"type": "stages", "stages": value} if isinstance(value, list) else value

    def build(self) -> Update:
        return load("agent.updates", self.update, "update").build()


class StreamSettings(Settings):
    """Everything a run is made of.

    Attributes:
        width: worlds in flight at once; half of them are thought for while the others are played.
        workers: processes that play the worlds; 0 plays them in this one. Episodes are the same.
    """

    stream: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    about: str = ""
    seed: int = Field(0, ge=0)
    width: int = Field(128, ge=1, le=4096)
    workers: int = Field(0, ge=0, le=256)
    model: ModelSettings = ModelSettings()
    lora: LoraSettings = LoraSettings()
    speech: Speech = Speech()
    regimes: dict[str, RegimeSettings]
    cycles: list[CyclePlan]
    exam: ExamSettings = ExamSettings()
    gate: GateSettings = GateSettings()
    memory: MemoryPlan = MemoryPlan()
    drift: DriftSettings = DriftSettings()
    tracking: TrackingPlan = TrackingPlan()
    service: ServiceSettings = ServiceSettings()

    @model_validator(mode="after")
    def names_exist(self) -> Self:
        for name in self.regimes:
            of, _, variant = name.rpartition("/")
            if of in self.regimes and variant in self.regimes[of].variants:
                raise ValueError(f"regimes.{name} has the name of a variant of {of}. Give it another name.")
        for i, plan in enumerate(self.cycles):
            if plan.task not in self.regimes:
                raise ValueError(f"cycles[{i}].task is '{plan.task}': {guess(plan.task, self.regimes)}")
        for name, regime in self.regimes.items():
            if regime.replaces is not None and regime.replaces not in self.regimes:
                raise ValueError(
                    f"regimes.{name}.replaces is '{regime.replaces}': {guess(regime.replaces, self.regimes)}"
                )
        if not self.cycles:
            raise ValueError(
                "cycles is empty: a run needs at least one cycle, for example {task: NAME, update: {type: grpo}}"
            )
        self.service.check({name: regime.replaces for name, regime in self.regimes.items()})
        return self


def load_stream(name: str, overrides: Sequence[str] = ()) -> StreamSettings:
    """Read a bundled stream by name or a YAML file by path, with `key.path=value` overrides.

    Modules beside a stream that isn't bundled can be imported from then on, behind all that is installed.

    Returns:
        The settings with every default filled in, those of components too.

    Raises:
        UserError: it is missing, is not YAML, or a setting is unknown or out of range.
    """
    path = find_stream(name)
    try:
        raw = read_yaml(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable as YAML: {error}. Mend that place.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a stream is a mapping with 'stream', 'regimes' and 'cycles'. Write these.")
    for override in overrides:
        apply_override(raw, override)
    if path.parent != BUNDLED:
        allow_modules(path.parent)
    try:
        return effective(StreamSettings.model_validate(raw))
    except ValidationError as error:
        raise UserError("\n".join([f"{path}:", *explain(error)])) from error
    except UserError as error:
        raise UserError(f"{path}: {str(error).lstrip()}" if "\n" not in str(error) else f"{path}:{error}") from error


def find_stream(name: str) -> Path:
    """The file a stream's name or path means."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UserError(f"no file '{name}'. Give the path of a YAML file, or the name of a bundled stream.")
        return Path(name).resolve()
    path = BUNDLED / f"{name}.yaml"
    if not path.is_file():
        bundled = sorted(p.stem for p in BUNDLED.glob("*.yaml"))
        raise UserError(f"no stream '{name}'. {guess(name, bundled)} Or give the path of a YAML file.")
    return path


def allow_modules(folder: Path) -> None:
    """Let worlds and components of a stream lie beside its file. What is installed comes first: nothing is shadowed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def effective(stream: StreamSettings) -> StreamSettings:
    """The same settings with every component's own defaults filled in, so that equal runs have equal settings.

    Raises:
        UserError: no such component, or one of its settings is unknown or out of range.
    """
    data = stream.model_dump(mode="json")
    for i, plan in enumerate(data["cycles"]):
        plan["update"] = _filled("agent.updates", plan["update"], "update", f"cycles.{i}.update")
    for package, what in (
        ("memory.retention", "retention"),
        ("memory.recall", "recall"),
        ("agent.embedders", "embedder"),
    ):
        data["memory"][what] = _filled(package, data["memory"][what], what, f"memory.{what}")
    for name, regime in data["regimes"].items():
        regime["world"]["drift"] = [
            _filled("envs.drift", item, "drift", f"regimes.{name}.world.drift.{i}")
            for i, item in enumerate(regime["world"]["drift"])
        ]
        for variant, drift in regime["variants"].items():
            place = f"regimes.{name}.variants.{variant}"
            regime["variants"][variant] = [
                _filled("envs.drift", item, "drift", f"{place}.{i}") for i, item in enumerate(drift)
            ]
    return StreamSettings.model_validate(data)


def as_yaml(stream: StreamSettings) -> str:
    """The settings as YAML that `load_stream` takes."""
    return yaml.safe_dump(stream.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def _filled(package: str, item: dict[str, Any], what: str, where: str) -> dict[str, Any]:
    try:
        return filled(package, item, what)
    except WrongPart as wrong:
        lines = explain_part(wrong, where)
        raise UserError("\n" + "\n".join(lines) if wrong.model else lines[0].strip()) from wrong


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set `a.b.0.c=value` in place; the value is read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write key=value, for example --set exam.episodes=64")
    *parents, last = key.split(".")
    place: Any = raw
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = read_yaml(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not readable as YAML. Quote it.") from error
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UserError(
            f"--set {override}: there is no such place in the stream. 'holdtrue config' prints all places."
        ) from error


def explain(error: ValidationError, within: str = "", model: Any = StreamSettings) -> list[str]:
    """One line for each mistake: the setting, the value, the reason, the remedy.

    Args:
        within: where the settings lie in the stream; "" for the stream itself.
        model: of the settings.
    """
    lines = []
    for item in error.errors():
        where = ".".join([*([within] if within else []), *(str(part) for part in item["loc"] if part != "[key]")])
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, WrongPart):
            lines += explain_part(cause, where)
            continue
        reason = item["msg"].removeprefix("Value error, ")
        reason += "" if reason.endswith((".", "?")) else "."
        if item["type"] == "extra_forbidden":
            known = fields_at(item["loc"][:-1], model)
            lines.append(f"  {where}: no such setting. {guess(str(item['loc'][-1]), known)}")
        elif item["type"] == "missing":
            lines.append(f"  {where}: is missing. Add it.")
        elif item["loc"][-1:] == ("[key]",):
            known = re.findall(r"'([^']*)'", item["ctx"].get("expected", ""))
            lines.append(f"  {where}: there is no such name. {guess(str(item['input']), known)}")
        elif isinstance(item["input"], dict | list):
            lines.append(f"  {where}: {reason}" if where else f"  {reason}")
        else:
            lines.append(f"  {where} is {item['input']!r}: {reason}")
    return lines


def explain_part(wrong: WrongPart, where: str) -> list[str]:
    """The same for a component that stands within the setting `where`."""
    place = f"{where}.{wrong.place}" if wrong.place else where
    if isinstance(wrong.cause, ValidationError):
        return explain(wrong.cause, place, wrong.model)
    return [f"  {place}: {wrong.cause}"]


def fields_at(location: Sequence[Any], model: Any) -> list[str]:
    """Names of the settings at a place within those of `model`, as far as they are known."""
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            hint = model.model_fields[part].annotation
            inner = [a for a in getattr(hint, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
            model = inner[0] if inner else hint
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def guess(wrong: str, known: Any) -> str:
    """`Did you mean 'x'?`, or what there is."""
    close = difflib.get_close_matches(wrong, list(known), n=1)
    return f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(known) or 'none'}."
