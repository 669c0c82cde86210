"""What all updates share: settings of the rounds, guards, and one optimizer step within the token budget."""

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from agent.batch import Sample
from agent.finite import NotFinite
from agent.guards import Anchor, StopSettings, Watch, about_round
from agent.lesson import Lesson, Round
from agent.rehearsal import kl_from_champion
from agent.report import UpdateReport
from envs.component import Settings

Metrics = dict[str, float]
LAST = ("return", "cost")
"""Of these, the last round's is told beside the mean over all rounds."""
Parts = dict[str, list[tuple[float, float]]]
"""Of each metric its values in parts of a step, each behind the part's share of the step."""
Loss = Callable[[Sequence[int]], tuple[torch.Tensor, Mapping[str, torch.Tensor]]]


class UpdateSettings(Settings):
    """Settings every update has.

    Attributes:
        rounds: how often fresh episodes are collected within a cycle.
        groups, group_size: episodes of a round; those of a group start from the same state.
        epochs: passes over a round.
        minibatch: decisions (or pairs) per optimizer step.
        learning_rate: of the first round; it falls linearly over the rounds, to a twentieth at least.
        rehearsal_weight: of KL(champion || candidate) on remembered observations, in the loss.
        rehearsal_batch: remembered decisions per optimizer step.
        review: share of as many groups more that are played in old tasks, and learned from like the new ones.
        kl_weight: of KL(candidate || champion) on the new task's own observations, in the loss.
        kl_target: nats per decision that `kl_weight` is doubled or halved to reach; None leaves it as it is.
        stop: when to stop early and go back to the best moment.
    """

    rounds: int = Field(8, ge=1)
    groups: int = Field(16, ge=1)
    group_size: int = Field(8, ge=2, le=64)
    epochs: int = Field(1, ge=1)
    minibatch: int = Field(256, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    max_grad_norm: float = Field(1.0, gt=0)
    rehearsal_weight: float = Field(1.0, ge=0)
    rehearsal_batch: int = Field(128, ge=1)
    review: float = Field(0.0, ge=0, le=4)
    kl_weight: float = Field(0.0, ge=0)
    kl_target: float | None = Field(None, gt=0)
    stop: StopSettings = StopSettings()

    @model_validator(mode="after")
    def _target_has_a_weight(self) -> Self:
        if self.kl_target is not None and self.kl_weight == 0:
            raise ValueError("kl_target is set and kl_weight is 0: there is nothing to adapt. Give kl_weight a start.")
        return self


class Update(Protocol):
    """A way to make the candidate better: one file under `agent/updates/`."""

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """Change the candidate's weights; yield after each optimizer step; return what was done."""
        ...


class Learner:
    """One optimizer over the candidate's weights, the guards, and a tally of what was done.

    Attributes:
        left: what is left of the rounds, 1 in the first.
        about: what the present round was like; it is told with every step.
        played: the same of each round; history: what each step was like.
        taken: optimizer steps.
        stopped: why the update ended early, or nothing.
    """

    def __init__(
        self,
        algorithm: str,
        lesson: Lesson,
        settings: UpdateSettings,
        more: Sequence[torch.nn.Parameter] = (),
    ) -> None:
        """`more` are weights beside the candidate's, for example of a value head."""
        self.algorithm = algorithm
        self.lesson = lesson
        self.policy = lesson.policy
        self.rehearsal = lesson.rehearsal
        self.settings = settings
        self.parameters = [*self.policy.parameters(), *more]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, weight_decay=0.0)
        self.anchor = Anchor(self.policy, settings.kl_weight, settings.kl_target)
        self.watch = Watch(settings.stop, self.policy)
        self.history: list[Metrics] = []
        self.about: Metrics = {}
        self.played: list[Metrics] = []
        self.samples: list[Sample] = []
        self.left = 1.0
        self.new = self.taken = 0
        self.optimizer.register_step_post_hook(self._stepped)
        self.flops = self.policy.flops
        self.skipped = self.stopped = ""

    def rounds(self) -> Iterator[Round]:
        """Fresh rounds, the learning rate falling linearly, until all are played or a guard stops the update."""
        settings = self.settings
        for number in range(settings.rounds):
            fresh = self.lesson.play(settings.groups, settings.group_size, settings.review)
            self.policy.meet(step.observation for episode in fresh.episodes for step in episode.steps)
            self.about = {**about_round(fresh.own), **fresh.about}
            self.played.append(self.about)
            trouble = self.watch.trouble(self.about)
            if trouble:
                self.watch.restore()
                self.stopped = f"stopped in round {number + 1} of {settings.rounds}, back at its best: {trouble}"
                return
            self.left = 1 - number / settings.rounds
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate * max(self.left, 0.05)
            yield fresh

    def learn(self, samples: Sequence[Sample], loss: Loss, items: Sequence[int] | None = None) -> Iterator[Metrics]:
        """Take the optimizer steps of a round, yielding after each.

        Args:
            samples: all that `loss` scores, for the pull to the champion.
            items: numbers that `loss` understands; all samples by default.
        """
        self.skipped = ""
        self.anchor.begin(samples)
        numbers = list(range(len(samples))) if items is None else list(items)
        for batch in minibatches(len(numbers), self.settings.minibatch, self.settings.epochs, self.lesson.rng):
            metrics = self.step([numbers[i] for i in batch], loss)
            yield metrics
            if self.settings.stop.kl is not None and metrics.get("approx_kl", 0.0) > self.settings.stop.kl:
                return

    def _stepped(self, *_: object) -> None:
        self.taken += 1

    def step(self, items: Sequence[int], loss: Loss) -> Metrics:
        """One optimizer step on the mean of `loss` over `items`, plus rehearsal.

        Args:
            items: numbers the loss understands; they are cut into pieces that fit one forward pass each. None of them:
                a step of rehearsal alone.
            loss: gives the mean loss over some items, and metrics to be averaged.

        Raises:
            NotFinite: loss or gradient is not a finite number; the weights stay as they are.
        """
        items = sorted(items)  # neighbours of a round ask the same: in one piece, their prompt is run once
        remembered = self._draw()
        totals = self.policy.budget.until_done(
            lambda: self._gradients(items, loss, remembered), lambda: self.policy.samples_per_forward > 1
        )
        self.rehearsal.used += len(remembered)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        totals["grad_norm"] = float(norm)
        if not all(map(np.isfinite, totals.values())):
            raise NotFinite(f"{self.algorithm}: not finite: {totals}")
        self.optimizer.step()
        self.new += len(items)
        self.history.append(totals)
        return self.about | totals

    def _draw(self) -> list[int]:
        """Numbers of the remembered decisions of one step."""
        if not self.rehearsal.samples or self.settings.rehearsal_weight == 0:
            return []
        return self.rehearsal.draw(self.settings.rehearsal_batch, self.lesson.rng).tolist()

    def _gradients(self, items: Sequence[int], loss: Loss, remembered: Sequence[int]) -> Metrics:
        """Leave the gradients of one step in the weights. Where memory runs out, it is done again from the start."""
        self.optimizer.zero_grad(set_to_none=True)
        totals: Parts = {}
        parameters, crew = self.parameters, self.policy.engine.crew
        losses = self._losses(items, loss, remembered, totals)
        while wave := list(itertools.islice(losses, crew.size)):
            derive = partial(torch.autograd.grad, inputs=parameters, allow_unused=True)
            for gradients in crew.map(derive, wave):
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        # a metric may be missing where a piece has nothing of its kind: that is no 0
        return {name: sum(s * x for s, x in told) / sum(s for s, _ in told) for name, told in totals.items()}

    def _losses(
        self, items: Sequence[int], loss: Loss, remembered: Sequence[int], totals: Parts
    ) -> Iterator[torch.Tensor]:
        """The loss of one step in parts that fit one forward each; their sum is the whole.

        Adds each part's share and metrics to `totals`.
        """
        for piece in self._pieces(items):
            value, metrics = loss(piece)
            share = len(piece) / len(items)
            for name, number in {"loss": value, **metrics}.items():
                totals.setdefault(name, []).append((share, float(number.detach())))
            yield value * share
        for piece in self._pieces(remembered):
            kl, share = self.rehearsal.loss(self.policy, piece), len(piece) / len(remembered)
            totals.setdefault("rehearsal_kl", []).append((share, float(kl.detach())))
            yield self.settings.rehearsal_weight * share * kl

    def _pieces(self, items: Sequence[int]) -> Iterator[Sequence[int]]:
        """Pieces for a forward each, and one for each thread at least."""
        return pieces(items, min(self.policy.samples_per_forward, -(-len(items) // self.policy.engine.crew.size) or 1))

    def report(self) -> UpdateReport:
        """Close the books. KL from the champion is measured on samples of the last round."""
        means = {**mean_of_each(self.played), **mean_of_each(self.history)}
        last = {f"{name}_last": self.played[-1][name] for name in LAST if self.played and name in self.played[-1]}
        return UpdateReport(
            self.algorithm, self.taken, self.new, self.rehearsal.used,
            kl_from_champion(self.policy, self.samples[:512]), self.rehearsal.measure(self.policy),
            self.skipped, self.stopped, self.policy.flops - self.flops, means | last,
        )  # fmt: skip


def mean_of_each(rows: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over the rows that have it."""
    names = sorted({name for row in rows for name in row})
    return {n: float(np.mean([row[n] for row in rows if n in row])) for n in names}


def pieces(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut into equal pieces of at most `size`."""
    count = -(-len(items) // size)
    for i in range(count):
        yield items[i * len(items) // count : (i + 1) * len(items) // count]


def minibatches(count: int, size: int, epochs: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Numbers 0..count-1 in fresh random order each epoch, in equal batches of at most `size`."""
    for _ in range(epochs):
        order = rng.permutation(count).tolist()
        yield from (list(piece) for piece in pieces(order, size))
