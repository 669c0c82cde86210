"""Open answers: said token by token, and scored by the same rule."""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from agent.finite import NotFinite
from agent.lvlm.engine import Engine
from agent.lvlm.prompts import Prompter
from agent.lvlm.rows import Row
from agent.lvlm.whole import Telling
from envs.component import Settings


class Speech(Settings):
    """How open answers are said. Closed sets are sampled at temperature 1, whatever stands here.

    Attributes:
        longest: most tokens of an open answer, a thought and the end token included.
        temperature: of sampling; log-probs, KL and references are under it too.
        stop: texts that end an answer; they are no part of what the world hears.
    """

    longest: int = Field(32, ge=1)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    stop: tuple[str, ...] = ()

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("an empty stop text would end every answer at once. Remove it.")
        return value


class Speaker:
    """Says and scores open answers.

    Attributes:
        banned: ids that are never sampled: an image token would ask for a picture that is not there.
    """

    def __init__(self, engine: Engine, prompter: Prompter, banned: Sequence[int], speech: Speech) -> None:
        self.engine = engine
        self.prompter = prompter
        self.banned = list(banned)
        self.speech = speech
        # a token is a byte or more, and the first of a window may be cut
        self._window = max((len(stop.encode()) for stop in speech.stop), default=0) + 4

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probs `[..., V]` in nats at the sampling temperature, over the vocabulary less the `banned` ids."""
        logits = logits.float() / self.speech.temperature
        return torch.log_softmax(logits.index_fill(-1, self._banned(logits.device), -torch.inf), dim=-1)

    def _banned(self, device: torch.device) -> Tensor:
        return torch.tensor(self.banned, dtype=torch.long, device=device)

    def text(self, tokens: np.ndarray) -> str:
        """What the world hears of sampled ids: up to the first stop text."""
        text = self.prompter.decode(tokens)
        return text[: min((at for stop in self.speech.stop if (at := text.find(stop)) >= 0), default=len(text))]

    @torch.no_grad()
    def say(self, rows: Sequence[Row], rngs: Sequence[np.random.Generator]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sample an answer for each row.

        Returns:
            Its ids, int64 `[T]` (the end token last, unless a stop text or the length ended it), and their log-probs.
        """
        out: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for some in self.engine.whole.groups(rows):
            said = self._say([rows[i] for i in some], [rngs[i] for i in some])
            out.update(zip(some, said, strict=True))
        return [out[i] for i in range(len(rows))]

    def _say(self, rows: list[Row], rngs: list[np.random.Generator]) -> list[tuple[np.ndarray, np.ndarray]]:
        engine, end = self.engine, self.prompter.end
        asked = {row.key: row for row in rows}  # members of a group ask the same: their prompt is run once
        telling = Telling(engine.whole, list(asked.values()))
        number = {key: n for n, key in enumerate(asked)}
        speaking = [(i, number[row.key]) for i, row in enumerate(rows)]
        tokens: list[list[int]] = [[] for _ in rows]
        paid: list[list[float]] = [[] for _ in rows]
        for t in range(self.speech.longest):
            table = self.log_probs(engine.finish(engine.head(telling.states))).cpu().numpy()
            for i, n in speaking:
                token = draw(table[n], rngs[i])
                tokens[i].append(token)
                paid[i].append(float(table[n, token]))
            speaking = [(i, n) for i, n in speaking if tokens[i][-1] != end and not self._stops(tokens[i])]
            if t + 1 == self.speech.longest or not speaking:
                break
            telling.tell([tokens[i][-1] for i, _ in speaking], [n for _, n in speaking])
            speaking = [(i, n) for n, (i, _) in enumerate(speaking)]
        return [(np.array(t), np.array(p, dtype=np.float32)) for t, p in zip(tokens, paid, strict=True)]

    def _stops(self, tokens: list[int]) -> bool:
        if not self.speech.stop:
            return False
        heard = self.prompter.tokenizer.decode(tokens[-self._window :])  # with control tokens: one may be a stop text
        return any(stop in heard for stop in self.speech.stop)


def draw(log_probs: np.ndarray, rng: np.random.Generator) -> int:
    """Sample an index from log-probs `[K]` with one uniform number, so that a seed gives one answer.

    Raises:
        NotFinite: they are no probabilities.
    """
    cumulative = np.cumsum(np.exp(log_probs.astype(np.float64)))
    if not cumulative[-1] > 0:  # so that not-a-number is caught too
        raise NotFinite("the model's probabilities are not finite numbers")
    return int(min(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"), len(cumulative) - 1))
