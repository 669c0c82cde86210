"""Who says which of two answers is better: the contract of an annotator, one a file under `agent/annotators/`.

A module there defines `Config` (settings and `build()`); what it builds is an `Annotator`. Bundled ones never
contradict themselves: `judge(b, a)` is minus `judge(a, b)`, or None for both.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.batch import Sample, Scores
from envs.types import Episode, Observation, Step


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer in its context: `step` is the one at `place` of `episode`, counted from 0."""

    step: Step
    episode: Episode
    place: int


class Annotator(Protocol):
    """Judges two answers to the very same observation."""

    @property
    def name(self) -> str:
        """Stands in the `source` of the pairs it judged."""
        ...

    def judge(self, a: Answered, b: Answered) -> float | None:
        """How much better `a` is than `b`: below 0 if `b` is; None without an opinion. The unit is its own."""
        ...


class Voice(Protocol):
    """What an annotator needs of a policy to ask it; `agent.policy.Policy` has it."""

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """For the length of a block, another adapter speaks."""
        ...

    def ask(self, observation: Observation, choices: tuple[str, ...]) -> Sample:
        """A sample for which only the table over `choices` matters."""
        ...

    def score(self, samples: Sequence[Sample]) -> Scores:
        """Log-probs of samples under the adapter that speaks."""
        ...


@runtime_checkable
class Asking(Annotator, Protocol):
    """An annotator that asks a policy: it is given one before it judges, and judges many at once."""

    def bind(self, policy: Voice) -> None:
        """Ask `policy` from now on."""
        ...

    def judge_all(self, answers: Sequence[tuple[Answered, Answered]]) -> list[float | None]:
        """`judge` for each two, in order, in as few forwards as the policy can do it."""
        ...


def opinions(annotator: Annotator, answers: Sequence[tuple[Answered, Answered]]) -> list[float | None]:
    """What `annotator` says of each two, in order."""
    if isinstance(annotator, Asking):
        return annotator.judge_all(answers)
    return [annotator.judge(a, b) for a, b in answers]
