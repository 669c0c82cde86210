"""Direct preference optimisation (arXiv 2305.18290) and its family, on pairs made of this cycle's own episodes.

Pairs are made anew each round (`agent.pairs` says how). The reference of a round is the policy that played it: its
log-probs came with the actions, so that no reference forward is run; pairs of earlier cycles are scored anew. `loss`
mixes losses by weights: `{sigmoid: 1}` is DPO, `{sigmoid: 0.8, bco: 0.2, nll: 1}` is MPO (arXiv 2411.10442).
`image_weight` adds mDPO's image-conditional term and anchor (arXiv 2406.11839): the same answer to the same text must
lose under a wrong picture.

Metrics: `margin` how much more the chosen answer gained than the rejected, nats; `accuracy` share of pairs with a
margin above 0; `chosen`, `rejected` mean log-probs, to see whether both fall; `reward` mean of beta times the log-ratio
of both answers, `approx_kl` on them; `image_margin` how much more the chosen answer gained under its own picture than
under a wrong one; `pairs` of the round, `pairs_replayed` of earlier cycles, `pairs_stale` that
were left out because another tokenizer made them; `retired` share of pairs past
`retire_margin`; and those of `agent.guards.about_round`.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from agent import preference_losses as losses
from agent.batch import Scores, samples_of
from agent.learner import Learner, Metrics, UpdateSettings
from agent.lesson import Lesson
from agent.pair_batch import PairBatch, prepared, spoken_here
from agent.pairs import PairSettings
from agent.report import UpdateReport
from agent.wrong_images import Kind, noised_pairs, wrong_observations
from memory.preferences import PreferencePair

Name = Literal["sigmoid", "ipo", "hinge", "simpo", "bco", "nll"]


def plain_dpo() -> dict[Name, float]:
    """The loss of the paper alone."""
    return {"sigmoid": 1.0}


class Config(UpdateSettings):
    """DPO's own settings.

    Attributes:
        loss: weights of the losses that are added.
        beta: the strength of the pull to the reference.
        smoothing: how often labels are taken to be wrong (`sigmoid`).
        simpo_margin: the margin that `simpo` aims at.
        pairs: where pairs come from and who judges them.
        image_weight, anchor_weight: of mDPO's image-conditional term and of its anchor.
        wrong_image: where the wrong picture comes from, see `agent.wrong_images`.
        noised: steps a round for which what is said of a drowned picture becomes the rejected answer (POVID).
        replayed: pairs of earlier cycles added to each round.
        retire_margin: nats of margin beyond which a pair teaches nothing any more.
    """

    loss: dict[Name, float] = Field(default_factory=plain_dpo)
    beta: float = Field(0.5, gt=0)
    smoothing: float = Field(0.0, ge=0, lt=0.5)
    simpo_margin: float = Field(0.5, ge=0)
    pairs: PairSettings = PairSettings()
    image_weight: float = Field(0.0, ge=0)
    anchor_weight: float = Field(0.0, ge=0)
    wrong_image: Kind = "retrieved"
    noised: int = Field(0, ge=0)
    replayed: int = Field(0, ge=0)
    retire_margin: float | None = Field(None, gt=0)

    @field_validator("loss")
    @classmethod
    def _weighs(cls, value: dict[Name, float]) -> dict[Name, float]:
        if not value or min(value.values()) < 0 or max(value.values()) == 0:
            raise ValueError("give each loss a weight of 0 or more, and one of them more than 0.")
        return value

    @model_validator(mode="after")
    def _anchor_has_an_image(self) -> Self:
        if self.anchor_weight and not self.image_weight:
            raise ValueError("anchor_weight is set and image_weight is 0: it belongs to the image term. Set both.")
        return self

    def build(self) -> "Dpo":
        return Dpo(self)


class Dpo:
    """One cycle of preference optimisation over `settings.rounds` rounds of fresh pairs."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        self.shift = 0.0  # running mean of BCO's rewards, moved once a step

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        learner = Learner("dpo", lesson, self.settings)
        maker = self.settings.pairs.build(lesson.policy.encode, lesson.policy, lesson.judgements)
        for fresh in learner.rounds():
            learner.samples = samples_of(fresh.own)
            pairs, about = maker.make(fresh.episodes)
            pairs += noised_pairs(lesson, fresh.episodes, self.settings.noised) if self.settings.noised else []
            old = self._old(learner, pairs) if self.settings.replayed else []
            learner.about |= {name: value for name, value in about.items() if value or "dropped" not in name}
            learner.about["pairs"] = float(len(pairs))
            if not pairs and not old:
                learner.skipped = "no pairs: no two answers to one observation differed in worth"
                continue
            wrong = wrong_observations(self.settings.wrong_image, pairs, lesson) if self._looks else [None] * len(pairs)
            batch = prepared(lesson.policy, pairs, old, wrong, self.settings.retire_margin)
            if not batch.live:
                learner.skipped = "every pair is past retire_margin: nothing more to learn from them"
                continue
            for metrics in learner.learn(batch.chosen, partial(self._loss, learner, batch), batch.live):
                self.shift = 0.9 * self.shift + 0.1 * metrics["reward"]
                yield metrics
        return learner.report()

    def _old(self, learner: Learner, fresh: Sequence[PreferencePair]) -> list[PreferencePair]:
        """Pairs of earlier cycles; remembers the fresh ones for later cycles."""
        lesson = learner.lesson
        drawn = lesson.pairs.draw(self.settings.replayed)
        lesson.pairs.keep(fresh)
        old = [pair for pair in drawn if spoken_here(lesson.policy, pair)]
        counts = {"pairs_replayed": len(old), "pairs_stale": len(drawn) - len(old)}
        learner.about |= {name: float(count) for name, count in counts.items() if count}
        return old

    @property
    def _looks(self) -> bool:
        return self.settings.image_weight > 0

    def _loss(
        self, learner: Learner, pairs: PairBatch, some: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        count, wrong = len(some), [i for i in some if pairs.wrong[i] is not None]
        now = learner.policy.score(pairs.samples(some))
        sums = now.sums
        chosen, rejected, misled = sums[:count], sums[count : 2 * count], sums[2 * count :]
        reference = pairs.reference[list(some)]
        per_pair = self._mixed(now, chosen, rejected, reference)
        margin = losses.margins(chosen, rejected, reference[:, 0], reference[:, 1]).detach()
        metrics = {"margin": margin.mean(), "accuracy": (margin > 0).float().mean()}
        ratios = torch.cat([chosen - reference[:, 0], rejected - reference[:, 1]]).detach()
        metrics |= {"reward": self.settings.beta * ratios.mean(), "approx_kl": (ratios.exp() - 1 - ratios).mean()}
        metrics |= {"chosen": chosen.detach().mean(), "rejected": rejected.detach().mean()}
        if self.settings.retire_margin is not None:
            living = margin < self.settings.retire_margin
            per_pair = per_pair * living
            metrics["retired"] = 1 - living.float().mean()
        loss = per_pair.mean()
        if wrong:
            sees = torch.tensor([pairs.wrong[i] is not None for i in some])
            loss = loss + self._image_loss(chosen[sees], misled, reference[sees], metrics) * (len(wrong) / count)
        pull, about = learner.anchor.term(some, now.take(slice(count)))
        return loss + pull, metrics | about

    def _mixed(
        self, now: Scores, chosen: torch.Tensor, rejected: torch.Tensor, reference: torch.Tensor
    ) -> torch.Tensor:
        """The weighted losses, `[B]`."""
        config, count = self.settings, len(chosen)
        decisions = now.mask.sum(1)
        both = (chosen, rejected, reference[:, 0], reference[:, 1])
        total = torch.zeros(count)
        for name, weight in config.loss.items():
            if name == "sigmoid":
                total = total + weight * losses.sigmoid(*both, config.beta, config.smoothing)
            elif name == "simpo":
                means = chosen / decisions[:count], rejected / decisions[count : 2 * count]
                total = total + weight * losses.simpo(*means, config.beta, config.simpo_margin)
            elif name == "bco":
                total = total + weight * losses.bco(*both, config.beta, self.shift)
            elif name == "nll":
                total = total + weight * losses.nll(chosen, decisions[:count])
            else:
                total = total + weight * {"ipo": losses.ipo, "hinge": losses.hinge}[name](*both, config.beta)
        return total

    def _image_loss(
        self, chosen: torch.Tensor, misled: torch.Tensor, reference: torch.Tensor, metrics: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """mDPO's two terms over the pairs that have a wrong picture."""
        config = self.settings
        by_image = losses.sigmoid(chosen, misled, reference[:, 0], reference[:, 2], config.beta)
        held = losses.anchored(chosen, reference[:, 0], config.beta)
        gained = losses.margins(chosen, misled, reference[:, 0], reference[:, 2])
        metrics["image_margin"] = gained.detach().mean()
        return config.image_weight * by_image.mean() + config.anchor_weight * held.mean()
