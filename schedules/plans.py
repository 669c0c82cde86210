"""What a stream says of its memory and of its record in MLflow."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from envs.component import Settings


class MemoryPlan(Settings):
    """What is remembered and rehearsed.

    Attributes:
        on: without it nothing is recalled or rehearsed (episodes are still kept).
        capacity: most episodes kept.
        capacity_mb: most megabytes (1e6 bytes) of episodes with their pictures kept; None for no bound.
        pair_capacity: most preference pairs kept; those whose episodes are gone go with them.
        durability: what a power cut may take: `normal` the last second, `full` nothing. A kill takes nothing.
        lived: episodes of each known regime lived in before the first cycle.
        rehearsal_steps: remembered decisions the champion is asked about, each cycle.
        examples: remembered successes shown in front of each question, see `agent.examples`; 0 shows none.
        embedder: what makes observations comparable, see `agent.embedders`.
    """

    on: bool = True
    capacity: int = Field(20_000, ge=16)
    capacity_mb: float | None = Field(None, ge=1)
    pair_capacity: int = Field(10_000, ge=1)
    durability: Literal["normal", "full"] = "normal"
    lived: int = Field(256, ge=0)
    rehearsal_steps: int = Field(1024, ge=1)
    examples: int = Field(0, ge=0, le=64)
    retention: dict[str, Any] = Field(default_factory=lambda: {"type": "balanced"})
    recall: dict[str, Any] = Field(default_factory=lambda: {"type": "mixture"})
    embedder: dict[str, Any] = Field(default_factory=lambda: {"type": "lvlm"})

    @model_validator(mode="after")
    def examples_are_remembered(self) -> Self:
        if self.examples and not self.on:
            raise ValueError(
                f"examples is {self.examples} and on is false: nothing is recalled that could be shown. Set "
                "memory.on to true, or memory.examples to 0."
            )
        return self


class TrackingPlan(Settings):
    """What MLflow is told beyond numbers.

    Attributes:
        traces: episodes of each kind traced a cycle, see `schedules.traces`; 0 for none.
    """

    traces: int = Field(2, ge=0, le=64)
