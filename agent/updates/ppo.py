"""Proximal policy optimisation (PPO, arXiv 1707.06347) by stable-baselines3, with a critic for each step.

SB3 gives `PPO.train()` and the rollout buffer; what it is asked is ours: a row of the buffer is one token (in closed
sets: one decision), its observation is the row's number, and `RowPolicy` looks it up. The ratio is per token, the
advantage per step, spread over its tokens; the value comes from the detached last state of the prompt (VL-DAC, arXiv
2508.04280), so that the critic never moves the LVLM. A cold critic teaches nothing: in the first `value_warmup` rounds
only it learns. KL to the champion enters the reward, k1 per token. Rehearsal runs between epochs.

Metrics: `approx_kl`, `clipfrac`, `value_loss`, `explained_variance` (of returns by values, 1 is best) as SB3 reports
them; `kl_champion` nats per decision that the reward was charged for, `kl_weight` at which price; and those of
`agent.guards.about_round`.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field, model_validator
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor, nn

from agent.advantages import gae, returns, returns_to_go
from agent.batch import Sample, decisions, sampled_logprobs, samples_of, sound
from agent.critic import final_values, make_critic, warm_up
from agent.finite import NotFinite
from agent.learner import Learner, Metrics, UpdateSettings, pieces
from agent.lesson import Lesson
from agent.lvlm.adapters import CHAMPION
from agent.report import UpdateReport
from agent.sharing import shared
from envs.types import Episode, StopReason

TOLD = {"approx_kl": "approx_kl", "clip_fraction": "clipfrac", "value_loss": "value_loss",
        "explained_variance": "explained_variance", "loss": "loss"}  # fmt: skip


class Config(UpdateSettings):
    """PPO's own settings.

    Attributes:
        discount, gae_lambda: of the advantages (GAE, arXiv 1506.02438).
        clip: how far a ratio may leave 1.
        value_weight, entropy_weight: of the critic's loss, and of the entropy bonus.
        value_warmup: rounds in which only the critic learns.
        value_steps: its optimizer steps in each of these.
        kl_weight: of log-prob less the champion's, taken from the reward of each token.
    """

    groups: int = Field(128, ge=1)
    group_size: int = Field(1, ge=1, le=64)
    epochs: int = Field(4, ge=1)
    minibatch: int = Field(64, ge=2)
    kl_weight: float = Field(0.04, ge=0)
    discount: float = Field(0.99, ge=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0, lt=1)
    value_weight: float = Field(0.5, ge=0)
    entropy_weight: float = Field(0.0, ge=0)
    value_warmup: int = Field(1, ge=0)
    value_steps: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _learns(self) -> Self:
        if self.value_warmup >= self.rounds:
            raise ValueError(
                f"value_warmup is {self.value_warmup} and rounds {self.rounds}: only the critic would learn. "
                "Raise rounds, or lower value_warmup."
            )
        return self

    def build(self) -> "Ppo":
        return Ppo(self)


@dataclass(slots=True)
class Rows:
    """What SB3 learns from: `samples` are steps; a row `[R]` is a `token` of one, `of_sample`, `old` its log-prob at
    sampling, nats; `states` `[B, hidden]` are the prompts' last ones as the round was played."""

    samples: list[Sample]
    of_sample: np.ndarray
    token: np.ndarray
    old: np.ndarray
    states: Tensor


class Ppo:
    """One cycle of PPO over `settings.rounds` rounds."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        critic = make_critic(lesson)
        learner = Learner("ppo", lesson, self.settings, list(critic.parameters()))
        trainer = Trainer(learner, critic, self.settings)
        for number, fresh in enumerate(learner.rounds()):
            episodes = sound(fresh.episodes)
            learner.samples = samples_of(fresh.own)
            if not episodes or np.ptp(returns(episodes)) < 1e-9:
                learner.skipped = "all returns were equal: nothing to learn from"
                continue
            learner.skipped = ""
            rows, prices = self._rows(learner, episodes)
            paid = charged(episodes, prices)
            if number < self.settings.value_warmup:
                gains = returns_to_go(paid, self.settings.discount)
                learner.about["value_loss"] = warm_up(critic, rows.states, gains, self.settings.value_steps)
                continue
            with torch.no_grad():
                values = critic(rows.states).flatten().double().numpy()
            advantages, targets = self._advantages(learner, critic, paid, values)
            trainer.begin(rows, advantages, targets, values)
            for _ in range(self.settings.epochs):
                yield trainer.epoch()
                if trainer.cut:
                    break
        return learner.report()

    def _rows(self, learner: Learner, episodes: Sequence[Episode]) -> tuple[Rows, np.ndarray]:
        """The rows of a round, and what KL takes from the reward of each step, float64 `[B]`."""
        samples, anchor = samples_of(episodes), learner.anchor
        anchor.adapt()
        states, mask, prices = learner.policy.states(samples), decisions(samples), np.zeros(len(samples))
        old = sampled_logprobs(samples, mask)
        if anchor.weight:
            with torch.no_grad(), learner.policy.using(CHAMPION):
                gap = (old - learner.policy.score(samples).logprobs) * mask
            prices = anchor.weight * gap.sum(1).double().numpy()
            anchor.seen.append(float(gap.sum() / mask.sum()))
            learner.about |= {"kl_champion": anchor.seen[-1], "kl_weight": anchor.weight}
        of_sample, token = (part.numpy() for part in mask.nonzero(as_tuple=True))
        return Rows(samples, of_sample, token, old.numpy()[of_sample, token], states), prices

    def _advantages(
        self, learner: Learner, critic: nn.Module, episodes: Sequence[Episode], values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Advantages and value targets of each step, float64 `[B]`."""
        cut = [e for e in episodes if e.stop is StopReason.TRUNCATED]
        beyond = iter(final_values(learner.policy, critic, cut))
        ends = np.cumsum([len(e.steps) for e in episodes])
        out = []
        for episode, of_episode in zip(episodes, np.split(values, ends[:-1]), strict=True):
            rewards = np.array([step.reward for step in episode.steps])
            last = next(beyond) if episode.stop is StopReason.TRUNCATED else 0.0
            out.append(gae(rewards, of_episode, last, self.settings.discount, self.settings.gae_lambda))
        advantages = np.concatenate(out)
        return advantages, advantages + values


def charged(episodes: Sequence[Episode], prices: np.ndarray) -> list[Episode]:
    """The same with `prices` of each step, float64 `[B]`, taken from the rewards."""
    price = iter(prices.tolist())
    return [replace(e, steps=tuple(replace(s, reward=s.reward - next(price)) for s in e.steps)) for e in episodes]


class RowBuffer(RolloutBuffer):
    """SB3's buffer, filled from outside and shuffled by our own generator.

    Attributes:
        whole: whether the last pass went to its end.
    """

    whole = True

    def __init__(self, rows: int, model: PPO, rng: np.random.Generator) -> None:
        super().__init__(rows, model.observation_space, model.action_space, "cpu")
        self.rng = rng

    def fill(self, old: np.ndarray, values: np.ndarray, advantages: np.ndarray, targets: np.ndarray) -> None:
        """Each `[R]`, a row each; the observation of a row is its number."""
        count = self.buffer_size
        self.observations = np.arange(count).reshape(count, 1)
        self.actions = np.zeros((count, 1), np.float32)
        for name, column in (
            ("log_probs", old), ("values", values), ("advantages", advantages), ("returns", targets)
        ):  # fmt: skip
            setattr(self, name, column.astype(np.float32).reshape(count, 1))

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:
        """Minibatches in a fresh order, of equal size."""
        self.whole = False
        count = -(-self.buffer_size // (batch_size or self.buffer_size))
        for some in np.array_split(self.rng.permutation(self.buffer_size), count):
            yield self._get_samples(some)
        self.whole = True


class RowPolicy(ActorCriticPolicy):
    """SB3's view of ours: it knows rows by their numbers, and its weights are the candidate's and the critic's."""

    def __init__(self, *given: Any, trainer: "Trainer", **more: Any) -> None:
        self.trainer = trainer
        super().__init__(*given, **more)

    def _build(self, lr_schedule: object) -> None:
        learner = self.trainer.learner
        self.adapter = nn.ParameterList(learner.policy.parameters())
        self.critic = self.trainer.critic
        self.optimizer = learner.optimizer

    def to(self, *_: object, **__: object) -> Self:
        """Stay: SB3 would move the candidate's weights to where its rows are, away from the LVLM's."""
        return self

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log-probs and entropies of rows, `[R]` each."""
        return self.trainer.evaluate(obs.flatten().long().numpy())


class Trainer:
    """SB3's PPO over rows."""

    def __init__(self, learner: Learner, critic: nn.Module, settings: Config) -> None:
        self.learner, self.critic, self.settings = learner, critic, settings
        self.rows: Rows | None = None
        target = None if settings.stop.kl is None else settings.stop.kl / 1.5  # SB3 stops beyond 1.5 times of it
        self.model = PPO(
            RowPolicy, None, learning_rate=self._rate, n_steps=2, clip_range=settings.clip,
            ent_coef=settings.entropy_weight, vf_coef=settings.value_weight, max_grad_norm=settings.max_grad_norm,
            target_kl=target, n_epochs=1, device="cpu", policy_kwargs={"trainer": self}, _init_setup_model=False,
        )  # fmt: skip
        self.model.observation_space, self.model.action_space = spaces.Discrete(2**31), spaces.Discrete(2)
        self.model.n_envs = 1
        self.model._setup_model()
        self.model.set_logger(Logger(None, []))

    def begin(self, rows: Rows, advantages: np.ndarray, targets: np.ndarray, values: np.ndarray) -> None:
        """Take up a round; `advantages`, `targets` and `values` of each step, `[B]`."""
        self.rows = rows
        buffer = RowBuffer(len(rows.old), self.model, self.learner.lesson.rng)
        buffer.fill(rows.old, *(of_step[rows.of_sample] for of_step in (values, advantages, targets)))
        self.model.rollout_buffer = buffer

    @property
    def cut(self) -> bool:
        """Whether `stop.kl` ended the last epoch early."""
        return not self.model.rollout_buffer.whole

    def epoch(self) -> Metrics:
        """SB3's pass over the round, then as many steps of rehearsal.

        Where memory runs out, the pass begins again in smaller minibatches; steps taken so far stay.

        Raises:
            NotFinite: a loss or a weight was none.
        """
        assert self.rows is not None
        learner = self.learner
        learner.policy.budget.until_done(self._pass, lambda: learner.policy.samples_per_forward > 1)
        said = self.model.logger.name_to_value
        metrics = {ours: float(said[f"train/{theirs}"]) for theirs, ours in TOLD.items()}
        metrics["entropy"] = -float(said["train/entropy_loss"])
        finite = all(torch.isfinite(parameter).all() for parameter in learner.parameters)
        if not finite or not np.isfinite(metrics["loss"]):
            raise NotFinite(f"ppo: not finite: {metrics}")
        learner.history.append(metrics)
        learner.new += len(self.rows.samples)
        batches = -(-len(self.rows.old) // self.model.batch_size)
        if learner.rehearsal.samples and self.settings.rehearsal_weight:
            held = [learner.step([], lambda _: (torch.zeros(()), {}))["rehearsal_kl"] for _ in range(batches)]
            metrics = metrics | {"rehearsal_kl": float(np.mean(held))}
        return learner.about | metrics

    def _pass(self) -> None:
        self.model.batch_size = min(self.settings.minibatch, self.learner.policy.samples_per_forward)
        self.model.train()

    def evaluate(self, numbers: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log-probs and entropies of these rows, `[R]` each; steps with several rows are scored once."""
        assert self.rows is not None
        policy, samples, width = self.learner.policy, self.rows.samples, self.rows.token.max() + 1
        steps, place = np.unique(self.rows.of_sample[numbers], return_inverse=True)
        states: list[Tensor] = []

        def score(part: Sequence[int]) -> tuple[Tensor, Tensor]:
            now = policy.score([samples[i] for i in part], states=True)
            assert now.states is not None
            states.append(now.states)
            return nn.functional.pad(now.logprobs, (0, width - now.logprobs.shape[1])), now.entropy

        parts = list(pieces(steps.tolist(), -(-len(steps) // policy.engine.crew.size)))
        logprobs, entropy = shared(score, parts, policy.engine.crew, policy.parameters())
        values = self.critic(torch.cat(states)).flatten()
        return values[place], logprobs[place, self.rows.token[numbers]], entropy[place]

    def _rate(self, _: float) -> float:
        return self.settings.learning_rate * max(self.learner.left, 0.05)
