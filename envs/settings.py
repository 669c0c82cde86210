"""What a stream says about a world."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from envs import drift
from envs.component import Settings
from envs.types import IMAGE_MARK


class Success(Settings):
    """When an episode counts as a success: an info key that is true at its end, or a return that is high enough."""

    info: str | None = None
    return_at_least: float | None = None

    @model_validator(mode="after")
    def _one(self) -> "Success":
        if (self.info is None) == (self.return_at_least is None):
            raise ValueError("give one of {info: KEY} and {return_at_least: NUMBER}.")
        return self

    def holds(self, rewards: Sequence[float], last_info: Mapping[str, Any] | None) -> bool:
        """Whether an episode with these rewards succeeded.

        Args:
            last_info: the last one the env gave; None if it was never stepped, which no info rule calls a success.

        Raises:
            KeyError: the last info lacks the key.
        """
        if self.return_at_least is not None:
            return math.fsum(rewards) >= self.return_at_least
        assert self.info is not None
        return last_info is not None and bool(last_info[self.info])


class WorldSettings(Settings):
    """A world in one state of drift.

    Attributes:
        id: `module:Id`, or a plain id of Gymnasium's own. The module is installed or in the stream's folder.
        kwargs: the env's own settings.
        drift: wrappers from the inside out, each `{type: ..., ...}`.
        success: the rule that examines it.
        history: how many of the last observations the agent sees at once; 1 is only the present one.
        max_steps: decisions until the episode is truncated; by default the env's own limit, or 1000.
        noop: the action, as the env itself calls it, that an unreadable reply becomes. Without it (and without a
            `noop` of the env) an unreadable reply does not step the world.
        unreadable_reward: added for an unreadable reply.
        expert: put the expert's answer to every observation into info; updates and annotators can learn from it.
        prompt: a template around what the agent is told: `{text}` stands for that.
        thought: the mark that ends a thought, for example `</think>`. With it any text may be said, and the action is
            what stands behind the last mark. Say so in `prompt`, and leave room in `speech.longest`.
        instruction, actions, image: for foreign envs, see `envs.foreign`.
    """

    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    drift: list[dict[str, Any]] = Field(default_factory=list)
    success: Success
    history: Annotated[int, Field(ge=1, le=64)] = 1
    max_steps: Annotated[int, Field(ge=1)] | None = None
    noop: str | None = None
    unreadable_reward: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    expert: bool = False
    prompt: str = "{text}"
    thought: Annotated[str | None, Field(min_length=1)] = None
    instruction: str | None = None
    actions: dict[str, Any] | None = None
    image: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _examined(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("success") is None:
            raise ValueError(
                "success is missing: without it nothing can be examined, so no cycle could be judged. Add success: "
                "{info: KEY} (a key that is true at the end of a won episode) or {return_at_least: NUMBER}."
            )
        return data

    @field_validator("prompt")
    @classmethod
    def _has_one_text(cls, value: str) -> str:
        if value.count("{text}") != 1 or IMAGE_MARK in value:
            raise ValueError(
                f"write {{text}} once, where the world's words belong (pictures come with them), and no {IMAGE_MARK}."
            )
        return value

    @field_validator("drift")
    @classmethod
    def _drifts_load(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in value:
            try:
                drift.load_drift(item)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in (item["type"], *first["loc"]))
                raise ValueError(f"drift {where}: {first['msg']}") from error
        return value
