"""The policy: an LVLM with LoRA adapters that acts, scores, and can be forked, adopted or thrown away.

Three adapters speak with one engine: the `champion` (what the gate let through), the `candidate` (what an update is
working on) and the `base` (adapters off). One thread touches the model.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from agent.batch import Sample, Scores
from agent.finite import check_weights
from agent.lvlm.adapters import CANDIDATE, CHAMPION, Adapters, LoraSettings
from agent.lvlm.asking import Asking
from agent.lvlm.budget import Budget, find_tokens
from agent.lvlm.checkpoint import ModelSettings, load_checkpoint
from agent.lvlm.deciding import Decider
from agent.lvlm.device import choose_threads, memory_bytes
from agent.lvlm.engine import Engine
from agent.lvlm.flops import Flops
from agent.lvlm.kept import Tally
from agent.lvlm.prompts import Prompter
from agent.lvlm.rows import Prompt, Row
from agent.lvlm.scoring import Scorer
from agent.lvlm.speech import Speaker, Speech
from agent.lvlm.vision import Vision
from envs.component import UserError
from envs.types import Choices, Observation, Reply

SPEECH = Speech()
TRIAL_PICTURE = 112
TRIAL_TOKENS, TRIAL_ANSWER = 64, 8
"""Of the forward by which the budget is found: an answer, whose every token has logits, behind a prompt."""


class Policy:
    """Implements `envs.collect.Actor`.

    Attributes:
        threads: CPU threads of the model, chosen at load.
        budget: tokens per forward; halved where memory runs out.
    """

    def __init__(self, model: ModelSettings, lora: LoraSettings, seed: int = 0, speech: Speech = SPEECH) -> None:
        """Load the checkpoint and give it a champion that changes nothing yet.

        Args:
            model: which checkpoint, threads, token budget.
            lora: shape of the adapters.
            seed: of the adapters' first weights.
            speech: how open answers are said.
        """
        self.threads = model.threads or choose_threads()
        torch.set_num_threads(self.threads)
        self.checkpoint = load_checkpoint(model)
        check_weights(self.checkpoint.model)
        self.prompter = Prompter(self.checkpoint, self.checkpoint.longest - speech.longest)
        self.vision = Vision(self.checkpoint, self.prompter, model.feature_cache_mb * 2**20)
        self.asking = Asking(self.prompter, self.vision)
        self.adapters = Adapters(self.checkpoint, lora, seed)
        of_tower = f"{self.checkpoint.tower}."
        self.vision.trained = not all(name.startswith(of_tower) for name in self.adapters.modules)
        first_layer = 0 if self.vision.trained else self.adapters.first_layer
        keep_bytes = model.state_cache_mb * 2**20
        self.engine = Engine(self.checkpoint, self.prompter.pad, first_layer, keep_bytes, self.threads)
        self.vision.crew = self.engine.crew
        self.speaker = Speaker(self.engine, self.prompter, self.banned, speech)
        self.budget = Budget(model.token_budget or self._find_tokens())
        self.decider = Decider(self.engine, self.asking, self.budget)
        self.scorer = Scorer(self.engine, self.asking, self.speaker, self.budget)
        self.operations = Flops(self.checkpoint.model)

    # -- who speaks ---------------------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """Hash of the adapter that speaks now."""
        return self.adapters.version(self.adapters.active)

    def fork(self) -> None:
        """Start a candidate from the champion; the candidate speaks."""
        self._move(CHAMPION, CANDIDATE, CANDIDATE)

    def adopt(self) -> None:
        """The candidate becomes the champion, which speaks."""
        self._move(CANDIDATE, CHAMPION, CHAMPION)

    def interpolate(self, alpha: float) -> None:
        """Move the candidate to the share `alpha` of the way from the champion: 0 is the champion, 1 changes nothing.

        The factors of LoRA are mixed, which keeps their rank; their product is mixed up to second order in the change
        (the ends are exact). Worth a try where a candidate gained, but forgot (arXiv 2109.01903).

        Raises:
            UserError: `alpha` is not in 0..1.
        """
        self.adapters.mix(CHAMPION, CANDIDATE, alpha)

    def discard(self) -> None:
        """Forget the candidate; the champion speaks."""
        self._move(CHAMPION, CANDIDATE, CHAMPION)

    def _move(self, source: str, target: str, speaks: str) -> None:
        self.adapters.copy(source, target)
        self.adapters.use(speaks)
        self.decider.forget()

    def forget(self) -> None:
        """Keep nothing that was computed before, as if just loaded.

        Which rows share a forward, and so the last bits and the operations counted, depend on what is kept: a cycle
        that begins so is the same in a run that was resumed.
        """
        self.decider.forget()
        self.engine.kept.clear()
        self.vision.kept.clear()
        self.prompter.forget()

    def snapshot(self) -> list[torch.Tensor]:
        """A copy of the candidate's weights."""
        return [parameter.detach().clone() for parameter in self.parameters()]

    @torch.no_grad()
    def restore(self, weights: Sequence[torch.Tensor]) -> None:
        """Give the candidate back the weights of a snapshot."""
        for parameter, kept in zip(self.parameters(), weights, strict=True):
            parameter.copy_(kept)

    @property
    def flops(self) -> float:
        """Floating-point operations of the model so far, backward passes included; see `agent.lvlm.flops`."""
        return self.operations.total

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """For the length of a block, `champion`, `candidate` or `base` speaks."""
        return self.adapters.using(adapter)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The candidate's weights: all that an update may change."""
        return list(self.adapters.tensors(CANDIDATE).values())

    def save(self, folder: Path, beside: Mapping[str, str] | None = None) -> None:
        """Write the adapter that speaks as a PEFT folder, whole or not at all.

        What was written is read again by plain PEFT first, and must say the same.

        Args:
            beside: texts of further files to lie in it, by name.

        Raises:
            NotFinite: its log-probs are no numbers.
            RuntimeError: what was written does not say what it should.
        """
        self.adapters.save(self.adapters.active, folder, self._opinion, beside)

    @torch.no_grad()
    def _opinion(self) -> torch.Tensor:
        """Numbers by which two adapters can be told apart: log-probs of a fixed prompt, and a picture's features."""
        told = self.engine.read(self.engine.trial_rows(sees=False), TRIAL_TOKENS)
        said = [torch.log_softmax(of_row.logits.float(), -1).flatten() for of_row in told]
        if self.vision.trained:
            grey = np.arange(TRIAL_PICTURE**2 * 3, dtype=np.uint8).reshape(TRIAL_PICTURE, TRIAL_PICTURE, 3)
            said += [picture.flat.float().flatten() for (picture,) in self.vision.pictures([(grey,)])]
        return torch.cat(said).cpu()

    def load_champion(self, folder: Path) -> None:
        """Replace the champion by a saved adapter."""
        self.adapters.load(folder, CHAMPION)
        self.discard()

    # -- acting -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        """Sample one answer for each observation, each from its own generator; closed ones at temperature 1."""
        closed = {i: texts for i, texts in enumerate(choices) if texts is not None}
        free = [i for i, texts in enumerate(choices) if texts is None]
        with self.adapters.merged():
            rows = self.asking.rows(observations, choices)
            decided = self.decider.decide([(rows[i], texts, rngs[i]) for i, texts in closed.items()], self.version)
            said = self._say([(rows[i], rngs[i]) for i in free])
        replies = dict(zip([*closed, *free], [*decided, *said], strict=True))
        return [replies[i] for i in range(len(rows))]

    def _say(self, asked: Sequence[tuple[Row, np.random.Generator]]) -> list[Reply]:
        """Open answers."""
        replies: dict[int, Reply] = {}

        def answer(some: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
            states = [asked[i][1].bit_generator.state for i in some]
            try:
                return self.speaker.say([asked[i][0] for i in some], [asked[i][1] for i in some])
            except Exception:  # memory may run out halfway: said again, it is said with the same luck
                for i, state in zip(some, states, strict=True):
                    asked[i][1].bit_generator.state = state
                raise

        for some, said in self.budget.each([len(row) for row, _ in asked], answer, retry=True):
            for i, (tokens, log_probs) in zip(some, said, strict=True):
                replies[i] = Reply(self.speaker.text(tokens), tokens, log_probs, "open")
        return [replies[i] for i in range(len(asked))]

    def table(self, observation: Observation, choices: tuple[str, ...]) -> dict[str, float]:
        """Probability of each allowed answer."""
        with torch.no_grad():
            log_probs = self.score([self.ask(observation, choices)]).table
        assert log_probs is not None
        return dict(zip(choices, log_probs[0].exp().tolist(), strict=True))

    def reuse(self) -> dict[str, float]:
        """Share of what was asked since the last call that needed no forward, 0..1: `pictures`, closed `decisions`."""
        rates = {"pictures": self.vision.tally.rate, "decisions": self.decider.tally.rate}
        self.vision.tally, self.decider.tally = Tally(), Tally()
        return rates

    # -- scoring ------------------------------------------------------------------------------------------------------

    def ask(self, observation: Observation, choices: tuple[str, ...]) -> Sample:
        """A sample for which only the table over `choices` matters."""
        answer = self.asking.tree(choices).answers[0]
        return Sample(observation, choices, answer, np.zeros(len(answer), dtype=np.float32))

    def encode(self, text: str, choices: Choices) -> np.ndarray:
        """The ids by which an answer is said, int64 `[T]`, the end token last.

        Raises:
            UserError: it is none of `choices`.
        """
        if choices is None:
            return self.prompter.answer(text)
        if text not in choices:
            raise UserError(f"{text!r} is none of the answers allowed here: {', '.join(choices)}.")
        return self.asking.tree(choices).answers[choices.index(text)]

    def score(
        self, samples: Sequence[Sample], states: bool = False, top: int = 0, ids: torch.Tensor | None = None
    ) -> Scores:
        """Log-probs of samples under the adapter that speaks, in forwards within the token budget.

        With gradients enabled and the candidate speaking, the result carries them: keep such batches small enough.

        Args:
            states: whether the prompts' last hidden states are wanted too.
            top: at each place of open answers, give the log-probs of so many of the likeliest tokens.
            ids: or of these tokens, int64 `[B, T, K]`.
        """
        with self.adapters.merged():
            return self.scorer.score(samples, states, top, ids)

    @torch.no_grad()
    def states(self, samples: Sequence[Sample]) -> torch.Tensor:
        """The prompts' last hidden states, float32 `[B, hidden]`: what deciding left, and the others' by a forward."""
        rows = self.asking.rows([s.observation for s in samples], [s.choices for s in samples])
        known = self.decider.states([(row, s.choices) for row, s in zip(rows, samples, strict=True)], self.version)
        missing = [i for i, state in enumerate(known) if state is None]
        if missing:
            found = self.score([samples[i] for i in missing], states=True).states
            assert found is not None
            for i, state in zip(missing, found.numpy(), strict=True):
                known[i] = state
        return torch.from_numpy(np.stack([state for state in known if state is not None]))

    def meet(self, observations: Iterable[Observation]) -> None:
        """Read what will be scored, so that the pieces of a step are cut to fit the longest of it."""
        for observation in observations:
            self.prompter.prompt(observation)

    @property
    def samples_per_forward(self) -> int:
        """How many prompts of the longest length seen so far fit the token budget."""
        return max(1, self.budget.tokens // max(self.prompter.longest_seen, 1))

    # -- shared -------------------------------------------------------------------------------------------------------

    @property
    def banned(self) -> list[int]:
        """Ids that are never sampled: an image token would ask for a picture that is not there."""
        return self.checkpoint.banned

    def _find_tokens(self) -> int:
        """Tokens per forward that fit here, from one small forward with gradients."""
        ids = np.resize(self.engine.trial_rows(False)[0].prompt.ids, TRIAL_TOKENS)
        row = Row(Prompt(ids[TRIAL_ANSWER:]), (), ids[:TRIAL_ANSWER], tuple(range(-1, TRIAL_ANSWER - 1)))

        def forward() -> torch.Tensor:
            return self.speaker.log_probs(self.engine.finish(self.engine.head(self.engine.whole.states([row], 1)[0])))

        with self.using(CANDIDATE):
            device = self.engine.device
            return find_tokens(self.checkpoint.model, forward, TRIAL_TOKENS, memory_bytes(device), device.type)
