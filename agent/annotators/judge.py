"""A policy as the judge: it is shown the observation, a rubric and both answers, and says which is better.

Both orders are asked and their log-odds averaged, so a liking for the first or the last place cancels out (such a
liking is strong: arXiv 2306.05685). Who judges itself prefers itself; `base` is at least the same judge all along.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field

from agent.judging import Answered, Voice
from envs.component import Settings
from envs.types import Observation

FIRST, SECOND = "first", "second"
Ask = Callable[[Sequence[Observation], tuple[str, str]], Sequence[tuple[float, float]]]
"""Log-probs of the two answers, nats, for each observation."""
_TAMED = str.maketrans("<>[]", "()()")


class Config(Settings):
    """The judge's own settings.

    Attributes:
        rubric: what makes an answer better, in the judge's words.
        voice: whose weights judge: `champion`, or `base` (adapters off).
        least: log-odds in nats below which there is no opinion.
    """

    rubric: str = Field("Which answer is better?", min_length=1)
    voice: Literal["champion", "base"] = "champion"
    least: float = Field(0.0, ge=0, allow_inf_nan=False)

    def build(self) -> "Judge":
        return Judge(self)


class Judge:
    """The margin is the mean log-odds of both orders, in nats."""

    name = "judge"

    def __init__(self, settings: Config, ask: Ask | None = None) -> None:
        self.settings = settings
        self.ask = ask
        self.voice: Voice | None = None

    def bind(self, policy: Voice) -> None:
        """Ask `policy` from now on, with the adapter that `voice` names."""

        @torch.no_grad()
        def ask(observations: Sequence[Observation], answers: tuple[str, str]) -> list[tuple[float, float]]:
            with policy.using(self.settings.voice):
                table = policy.score([policy.ask(observation, answers) for observation in observations]).table
            assert table is not None  # all are closed
            return [(first, second) for first, second in table.tolist()]

        self.ask, self.voice = ask, policy

    def identity(self) -> str:
        """See `agent.judging.Asking`."""
        if self.voice is None:
            return self.settings.model_dump_json()
        with self.voice.using(self.settings.voice):
            return f"{self.voice.version} {self.settings.model_dump_json()}"

    def judge(self, a: Answered, b: Answered) -> float | None:
        """See `agent.judging.Annotator`."""
        return self.judge_all([(a, b)])[0]

    def judge_all(self, answers: Sequence[tuple[Answered, Answered]]) -> list[float | None]:
        """See `agent.judging.Asking`.

        Raises:
            RuntimeError: it was bound to no policy.
        """
        if self.ask is None:
            raise RuntimeError("the annotator 'judge' was bound to no policy: call bind(policy) before it judges")
        if not answers:
            return []
        asked = [self._question(*order) for a, b in answers for order in ((a, b), (b, a))]
        odds = [first - second for first, second in self.ask(asked, (FIRST, SECOND))]
        return [self._opinion((forth - back) / 2) for forth, back in zip(odds[::2], odds[1::2], strict=True)]

    def _question(self, first: Answered, second: Answered) -> Observation:
        seen = first.step.observation
        told = f"{FIRST}: {_tame(first.step.action.text)}\n{SECOND}: {_tame(second.step.action.text)}"
        text = f"{seen.text}\n{self.settings.rubric}\n{told}\nSay: {FIRST}, {SECOND}."
        return Observation(text, seen.images)

    def _opinion(self, margin: float) -> float | None:
        return margin if margin and math.isfinite(margin) and abs(margin) >= self.settings.least else None


def _tame(answer: str) -> str:
    """An answer in one line, that can forge no picture's mark, control token or line of the other answer."""
    return " ".join(answer.translate(_TAMED).split())
