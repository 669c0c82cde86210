"""Who says which of two answers is better: the contract of an annotator, one a file under `agent/annotators/`.

A module there defines `Config` (settings and `build()`); what it builds is an `Annotator`. Bundled ones never
contradict themselves: `judge(b, a)` is minus `judge(a, b)`, or None for both.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.batch import Sample, Scores
from envs.types import Episode, Observation, Step
from memory.images import content_key
from memory.judgements import Judgement


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

    @property
    def version(self) -> str:
        """Names the weights that speak."""
        ...

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

    def identity(self) -> str:
        """Names who judges and how, weights included: what it said once, it would say again."""
        ...

    def judge_all(self, answers: Sequence[tuple[Answered, Answered]]) -> list[float | None]:
        """`judge` for each two, in order, in as few forwards as the policy can do it."""
        ...


class JudgementMemory(Protocol):
    """What was judged before; `memory.store.ReplayMemory` has it."""

    def judged(self, keys: Sequence[bytes]) -> dict[bytes, float | None]:
        """Margins of those keys that are known; None where there was no opinion."""
        ...

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Remember those that are new."""
        ...


class NothingJudged:
    """A memory that keeps nothing."""

    def judged(self, keys: Sequence[bytes]) -> dict[bytes, float | None]:
        """See `JudgementMemory`."""
        return {}

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """See `JudgementMemory`."""


def opinions(
    annotator: Annotator, answers: Sequence[tuple[Answered, Answered]], memory: JudgementMemory
) -> list[float | None]:
    """What `annotator` says of each two, in order; one that asks a policy is never asked the same twice."""
    keys = _Keys(annotator)
    named = [keys(a, b) for a, b in answers]
    known = memory.judged(list(dict.fromkeys(named))) if isinstance(annotator, Asking) else {}
    new = {key: both for key, both in zip(named, answers, strict=True) if key not in known}
    said = annotator.judge_all(list(new.values())) if isinstance(annotator, Asking) else _each(annotator, new.values())
    memory.add_judgements([
        Judgement(key, annotator.name, a.episode.task, max(a.episode.cycle, b.episode.cycle), ids(a, b), margin)
        for (key, (a, b)), margin in zip(new.items(), said, strict=True)
    ])  # fmt: skip
    known = known | dict(zip(new, said, strict=True))
    return [known[key] for key in named]


def ids(a: Answered, b: Answered) -> tuple[str, ...]:
    """Ids of the episodes of two answers, each once."""
    return tuple(dict.fromkeys((a.episode.id, b.episode.id)))


def _each(annotator: Annotator, answers: Iterable[tuple[Answered, Answered]]) -> list[float | None]:
    return [annotator.judge(a, b) for a, b in answers]


class _Keys:
    """Names judgements. One that asks a policy sees the observation and both answers; another may see the episodes."""

    def __init__(self, annotator: Annotator) -> None:
        self._who = annotator.identity() if isinstance(annotator, Asking) else annotator.name
        self._asks = isinstance(annotator, Asking)
        self._pictures: dict[int, bytes] = {}  # by object: episodes share arrays

    def __call__(self, a: Answered, b: Answered) -> bytes:
        shown = self._shown(a) if self._asks else tuple((x.episode.id, x.place) for x in (a, b))
        what = (self._who, shown, a.step.action.text, b.step.action.text)
        return hashlib.blake2b(repr(what).encode(), digest_size=16).digest()

    def _shown(self, a: Answered) -> tuple[str, ...]:
        seen = a.step.observation
        for image in seen.images:
            if id(image) not in self._pictures:
                self._pictures[id(image)] = content_key(image)
        return (seen.text, *(self._pictures[id(image)].hex() for image in seen.images))
