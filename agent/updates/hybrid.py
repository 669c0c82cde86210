"""RL or DPO, chosen anew for each cycle from what is measured, with the reasons in the report.

A first round is played and looked at: how many groups have a spread of rewards that RL can compare, how many pairs DPO
can make and whether their judges agree, how much of what is said can be read. Each arm's signal is multiplied by what
earlier cycles of the task say of it: its gain per floating-point operation against the other's (a small bandit: an arm
that was tried less gets a bonus, UCB1, Auer et al. 2002). The round that was measured is then the chosen arm's first.

`choose: rl`, `dpo` or `alternate` are its controls. Metrics: the chosen arm's; `score_rl` and `score_dpo`.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from agent.guards import about_round
from agent.learner import Metrics, UpdateSettings
from agent.lesson import Lesson, Round, Trial
from agent.pairs import PairMaker, PairSettings
from agent.report import UpdateReport
from envs.component import Settings, filled, load, part

ARMS = ("rl", "dpo")


class Config(Settings):
    """The two arms, and who chooses.

    Attributes:
        rl, dpo: an update each, with its own settings.
        choose: `measured`, or one of the controls.
        curiosity: bonus of an arm that was tried less than the other.
    """

    rl: dict[str, Any] = Field(default_factory=lambda: {"type": "grpo"}, validate_default=True)
    dpo: dict[str, Any] = Field(default_factory=lambda: {"type": "dpo"}, validate_default=True)
    choose: Literal["measured", "rl", "dpo", "alternate"] = "measured"
    curiosity: float = Field(0.2, ge=0)

    @field_validator("rl", "dpo")
    @classmethod
    def _filled(cls, value: dict[str, Any]) -> dict[str, Any]:
        arm = part("agent.updates", value, "update")
        if not isinstance(arm, UpdateSettings) or arm.group_size < 2:
            raise ValueError("an arm is one update that plays groups of 2 or more, such as grpo, dpo or kto. Name one.")
        return filled("agent.updates", value, "update")

    def build(self) -> "Hybrid":
        return Hybrid(self)


@dataclass(frozen=True, slots=True)
class Signals:
    """What a round offers each arm, 0..1.

    Attributes:
        spread: share of groups whose returns differ.
        readable: share of readable answers.
        pairs: pairs for each group, at most 1.
        agreement: share of pairs on which the judge and the returns agree; 1 where nobody disagrees.
        success: share of successful episodes.
    """

    spread: float
    readable: float
    pairs: float
    agreement: float
    success: float

    @property
    def of_arm(self) -> dict[str, float]:
        """RL needs spread and answers that can be read; DPO needs pairs whose judges agree (0.5 is a coin)."""
        return {"rl": self.spread * self.readable, "dpo": self.pairs * max(0.0, 2 * self.agreement - 1)}


class Hybrid:
    """Chooses an arm, then is that arm."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        configs = {arm: load("agent.updates", getattr(self.settings, arm), "update") for arm in ARMS}
        before = lesson.policy.flops
        sizes = configs["rl"]
        assert isinstance(sizes, UpdateSettings)
        first = lesson.play(sizes.groups, sizes.group_size, sizes.review)
        pairs = getattr(configs["dpo"], "pairs", PairSettings())
        signals = measure(first, pairs.build(lesson.policy.encode, lesson.policy, lesson.judgements))
        tried = [trial for trial in map(own_part, lesson.past) if trial is not None]
        arm, scores, reason = self.choice(signals, tried)
        rounds = iter([first])

        def play(groups: int, size: int, review: float = 0.0) -> Round:
            return next(rounds, None) or lesson.play(groups, size, review)

        report = yield from configs[arm].build().steps(replace(lesson, play=play))
        metrics = {**report.metrics, **{f"score_{name}": score for name, score in scores.items()}}
        flops = lesson.policy.flops - before
        return replace(report, algorithm=f"hybrid/{arm}", flops=flops, metrics=metrics, reason=reason)

    def choice(self, signals: Signals, tried: Sequence[Trial]) -> tuple[str, dict[str, float], str]:
        """The arm, both scores, and why in words."""
        scores = arm_scores(signals, tried, self.settings.curiosity)
        told = (
            f"spread {signals.spread:.2f}, readable {signals.readable:.2f}, pairs a group {signals.pairs:.2f}, "
            f"agreement {signals.agreement:.2f}, success {signals.success:.2f}, {len(tried)} earlier tries: "
            f"rl {scores['rl']:.2f}, dpo {scores['dpo']:.2f}"
        )
        if self.settings.choose == "measured":
            arm = max(ARMS, key=lambda name: scores[name])
        elif self.settings.choose == "alternate":
            arm = ARMS[len(tried) % 2]
        else:
            arm = self.settings.choose
        how = "" if self.settings.choose == "measured" else f" by choose: {self.settings.choose}"
        return arm, scores, f"{arm}{how} ({told})"


def own_part(trial: Trial) -> Trial | None:
    """What of a trial was an arm's: all of it, or a stage (`sft -> hybrid/dpo`); None if nothing was."""
    arms = [name for name in trial.algorithm.split(" -> ") if name.startswith("hybrid/")]
    return replace(trial, algorithm=arms[-1]) if arms else None


def measure(first: Round, maker: PairMaker) -> Signals:
    """What a round offers."""
    pairs, about = maker.make(first.own)
    seen = about_round(first.own)
    groups = max(1, len({episode.group for episode in first.own}))
    success = float(np.mean([episode.success for episode in first.own])) if first.own else 0.0
    agreement = about.get("agreement", 1.0)
    return Signals(
        seen.get("spread", 0.0), seen.get("readable", 0.0), min(1.0, len(pairs) / groups), agreement, success
    )


def arm_scores(signals: Signals, tried: Sequence[Trial], curiosity: float) -> dict[str, float]:
    """Signal times experience, plus a bonus for what was tried less.

    Experience is 1 until both arms were tried; then an arm's mean gain per operation over the sum of both, times 2
    (losses count as no gain), but never less than 0.2: what failed once may do later.
    """
    gains = {arm: [t for t in tried if f"hybrid/{arm}" in t.algorithm] for arm in ARMS}
    rates = {arm: _rate(trials) for arm, trials in gains.items()}
    total = sum(rate for rate in rates.values() if rate is not None)
    known = None not in rates.values() and total > 0
    out: dict[str, float] = {}
    for arm in ARMS:
        experience = max(0.2, 2 * float(rates[arm] or 0.0) / total) if known else 1.0
        bonus = curiosity * float(np.sqrt(np.log(len(tried) + 1) / (len(gains[arm]) + 1)))
        out[arm] = signals.of_arm[arm] * experience + bonus
    return out


def _rate(trials: Sequence[Trial]) -> float | None:
    """Mean gain per operation, at least 0; None without trials."""
    flops = sum(trial.flops for trial in trials)
    return max(0.0, sum(trial.gain for trial in trials)) / flops if flops else None
