"""A column of the score matrix, as a stream's settings tell of it."""

from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from agent.rewards import RewardSettings
from envs.component import Settings, UserError
from envs.multimodal import WorldSettings


class RegimeSettings(Settings):
    """A task in one state of drift.

    Attributes:
        world: the world, its drift and its success rule.
        known: the pilot can do it already: it is lived in before the first cycle, so that memory can guard it.
        replaces: the regime whose world is gone once this one begins. Without it, the drift adds a regime.
        rewards: what an update is paid by, see `agent.rewards`.
        variants: by name, drifts that are put on top of the world's: exam-only columns `NAME/variant`. They are never
            lived in, trained, rehearsed or guarded, and no figure of the score matrix counts them.
    """

    world: WorldSettings
    known: bool = False
    replaces: str | None = None
    rewards: RewardSettings = RewardSettings()
    variants: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], list[dict[str, Any]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _variants_differ(self) -> Self:
        for name, drift in self.variants.items():
            if not drift:
                raise ValueError(f"variants.{name} is empty: it would be the regime itself. Give it a drift.")
            try:
                self.variant(name)
            except UserError as error:
                raise ValueError(f"variants.{name}: {error}") from error
            except ValidationError as error:
                raise ValueError(
                    f"variants.{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
                ) from error
        return self

    def variant(self, name: str) -> WorldSettings:
        """The world of a variant."""
        return self.world.with_(drift=[*self.world.drift, *self.variants[name]])
