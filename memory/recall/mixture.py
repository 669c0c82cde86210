"""Several strategies, each for its share of the steps.

    {type: mixture, parts: [{type: uniform, weight: 2}, {type: similar, weight: 1}]}

What one part cannot give, the later parts share by their weights; what they cannot give, the first part is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from envs.component import Settings, UserError, load
from memory.catalogue import View
from memory.recall import NOTHING, Drawn, Failure, Recall


class Config(Settings):
    """`parts`: settings of other recall strategies, each with a `weight` above 0 (1 if not said)."""

    parts: tuple[dict[str, Any], ...] = Field(({"type": "uniform"}, {"type": "similar"}, {"type": "age"}), min_length=1)

    @field_validator("parts")
    @classmethod
    def _weights_are_positive(cls, parts: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for part in parts:
            weight = part.get("weight", 1)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
                raise ValueError(f"the weight of part '{part.get('type')}' is {weight!r}: give a number above 0")
        return parts

    def build(self) -> "Mixture":
        """Raises UserError if a part is no recall strategy."""
        return Mixture([(part.get("weight", 1), _build(part)) for part in self.parts])


class Mixture:
    """Asks its parts in order; an episode that one has drawn is not there for the next."""

    def __init__(self, parts: Sequence[tuple[float, Recall]]) -> None:
        self.parts = parts

    def draw(self, view: View, like: Sequence[Failure], count: int, rng: np.random.Generator) -> Drawn:
        """See `memory.recall.Recall`."""
        drawn, left = NOTHING, count
        weights = np.cumsum([weight for weight, _ in self.parts][::-1])[::-1]
        for (weight, part), rest in zip([*self.parts, self.parts[0]], [*weights, self.parts[0][0]], strict=True):
            share = round(left * weight / rest)
            if share > 0:
                more = part.draw(view, like, share, rng)
                left -= int(view.length[view.places(more.numbers)].sum())
                view, drawn = view.without(more.numbers), drawn + more
        return drawn


def _build(part: Mapping[str, Any]) -> Recall:
    if part.get("type") == "mixture":
        raise UserError("recall: a mixture in a mixture says no more than one list of parts. Put them in one list.")
    own: Recall = load("memory.recall", {k: v for k, v in part.items() if k != "weight"}, "recall").build()
    return own
