"""Settings of a life: where the champion lives while it is served, and what makes a cycle due."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from envs.component import Settings, filled

ALARMED = "alarmed"
"""As a trigger's task: the regime of its last alarm; where there was none, the one that went worst lately."""

MOST_WORLDS = 4096

CLOCKS = ("cron", "interval")
"""Triggers that look at nothing but the time."""


class LifePhase(Settings):
    """A stretch of the life: the world drifts where one ends and the next begins.

    Attributes:
        episodes: how many are lived in it; the last phase goes on for ever.
        regimes: which are lived in, and how often each, as shares of their sum.
    """

    episodes: int = Field(1000, ge=1)
    regimes: dict[str, Annotated[float, Field(gt=0)]] = Field(min_length=1)


class TriggerPlan(Settings):
    """What makes a cycle due, and which.

    Attributes:
        name: under which the queue knows it; by default the trigger's type.
        when: the trigger, see `schedules.triggers`.
        task: the regime that is trained, or `alarmed`: the one of its last alarm, or else the one that went worst.
        update: as that of a planned cycle.
    """

    name: str = ""
    when: dict[str, Any]
    task: str = ALARMED
    update: dict[str, Any]

    @field_validator("when")
    @classmethod
    def _trigger_exists(cls, value: dict[str, Any]) -> dict[str, Any]:
        return filled("schedules.triggers", value, "trigger")

    @field_validator("update", mode="before")
    @classmethod
    def _stages(cls, value: Any) -> Any:
        return {"type": "stages", "stages": value} if isinstance(value, list) else value

    @field_validator("update")
    @classmethod
    def _update_exists(cls, value: dict[str, Any]) -> dict[str, Any]:
        return filled("agent.updates", value, "update")

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or str(self.when.get("type", ""))


class ServiceSettings(Settings):
    """How `holdtrue serve` lives.

    Attributes:
        life: phases, one after the other; without any, all regimes that replace no other are lived in evenly.
        worlds: that are lived in at once.
        ticks: of the worlds that are played after each optimizer step of an update; 0 lets life stand still meanwhile.
        triggers: what makes cycles due. Without any, only a person does: `holdtrue cycle now`.
    """

    life: list[LifePhase] = Field(default_factory=list)
    worlds: int = Field(32, ge=1, le=MOST_WORLDS)
    ticks: int = Field(1, ge=0)
    triggers: list[TriggerPlan] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: set[str] = set()
        for i, trigger in enumerate(self.triggers):
            if trigger.called in seen:
                raise ValueError(f"triggers[{i}] is called '{trigger.called}' like one before it. Give it a name.")
            seen.add(trigger.called)
        return self

    def check(self, replaces: Mapping[str, str | None]) -> None:
        """Make sure that every regime named is there, and that no world comes back once another took its place.

        Args:
            replaces: of every regime of the stream, the one whose world is gone once it begins.

        Raises:
            ValueError: saying which setting is wrong, and why.
        """
        gone: dict[str, str] = {}
        for i, phase in enumerate(self.life):
            for name in phase.regimes:
                if name not in replaces:
                    raise ValueError(f"service.life[{i}].regimes has '{name}': {_there(replaces)}")
                for former in before(name, replaces):
                    gone[former] = name
            for name in phase.regimes:
                if name in gone:
                    raise ValueError(
                        f"service.life[{i}].regimes has '{name}', whose world is gone once '{gone[name]}' begins. "
                        "Leave it out there, or let nothing replace it."
                    )
        for i, trigger in enumerate(self.triggers):
            if trigger.task != ALARMED and trigger.task not in replaces:
                raise ValueError(
                    f"service.triggers[{i}].task is '{trigger.task}': {_there(replaces)} Or write '{ALARMED}'."
                )
            for name in _tasks(trigger.when):
                if name not in replaces:
                    raise ValueError(f"service.triggers[{i}].when.task is '{name}': {_there(replaces)}")


def before(name: str, replaces: Mapping[str, str | None]) -> list[str]:
    """The regimes whose worlds were there before this one, one after the other, backwards."""
    found: list[str] = []
    former = replaces.get(name)
    while former is not None and former not in found:
        found.append(former)
        former = replaces.get(former)
    return found


def slot(name: str, replaces: Mapping[str, str | None]) -> str:
    """The first regime of the chain: what is lived in there drifts, and keeps its name."""
    return [name, *before(name, replaces)][-1]


def by_the_clock(trigger: Mapping[str, Any]) -> bool:
    """Whether the clock alone decides when a trigger is due: it is `cron` or `interval`, or made of nothing else."""
    parts = trigger.get("of", ())
    return all(by_the_clock(part) for part in parts) if parts else trigger.get("type") in CLOCKS


def regimes_of(trigger: Mapping[str, Any]) -> frozenset[str]:
    """The regimes that a trigger looks at alone; none where any regime may make it due."""
    parts = [regimes_of(part) for part in trigger.get("of", ())]
    if trigger.get("type") == "any_of" and not all(parts):
        return frozenset()
    own = [trigger["task"]] if trigger.get("task") else []
    return frozenset(own).union(*parts)


def _tasks(trigger: Mapping[str, Any]) -> list[str]:
    """Regimes that a trigger names, and those that it is made of."""
    own = [str(trigger["task"])] if trigger.get("task") else []
    return own + [name for part in trigger.get("of", ()) for name in _tasks(part)]


def _there(names: Mapping[str, Any]) -> str:
    return f"there are: {', '.join(names)}."
