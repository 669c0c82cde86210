"""The gate: a candidate becomes champion only if it surely gained on what it trained and lost nowhere else.

Every verdict is one sentence with its numbers, for a person who reads the report a week later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field, field_validator

from envs.component import Settings
from schedules.comparison import ALPHA, ExamResult, cost_rise, gain, gain_lower_bound, prospect

Share = Annotated[float, Field(gt=0, lt=1)]
NO_LIMITS: Mapping[str, float] = {}


class GateSettings(Settings):
    """What a candidate must show.

    Attributes:
        on: False keeps every candidate (the control without a gate); the verdict still says what the gate would have.
        min_gain: the one-sided 95 % lower bound of the gain on the trained task must be above it (success, 0..1).
        guard: `live` guards every regime that is there; `skills` only those known to the pilot or learned in a promoted
            cycle, so that luck in a world that nobody has learned yet can't refuse a good candidate.
        max_loss: no guarded task may be estimated worse than the champion, or than its best ever, by more (success,
            0..1).
        max_kl_old: cap of KL(champion || candidate) on remembered old observations, nats per decision.
        min_readable: least share of the candidate's exam actions that name a command.
        max_cost_rise: no guarded task may surely cost more per episode than the champion's plus this, except within the
            stream's own bound (`rewards.cost.limit`).
        min_exam: fewest exam seeds a verdict may rest on.
        interpolate: shares of the way from champion to candidate that are tried where the whole way surely gained, but
            was refused for something else. Each is a candidate of its own, with its own exam.
        reload: `fresh` proves that what was written says the same in another process, which holds a second copy of the
            model; `same` proves it in this one alone.
        patience: refusals of one task in a row after which its learning rate is halved, once for each so many; after
            twice as many the stream is paused. None never does either.
    """

    on: bool = True
    guard: Literal["live", "skills"] = "live"
    min_gain: float = Field(0.0, ge=-1, lt=1)
    max_loss: float = Field(0.1, ge=0, le=1)
    max_kl_old: float = Field(0.5, gt=0)
    min_readable: float = Field(0.95, ge=0, le=1)
    max_cost_rise: float = Field(0.0, ge=0)
    min_exam: int = Field(100, ge=2)
    interpolate: tuple[Share, ...] = (0.75, 0.5)
    reload: Literal["fresh", "same"] = "fresh"
    patience: int | None = Field(3, ge=1)

    @field_validator("interpolate")
    @classmethod
    def _falling(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value), reverse=True):
            raise ValueError(
                "each share is tried after a larger one. Write them falling, as [0.75, 0.5], or [] for none."
            )
        return value


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate becomes champion, and why.

    Attributes:
        share: of the way from the champion to what was learned.
    """

    accepted: bool
    sentence: str
    share: float = 1.0


def judge(
    settings: GateSettings,
    task: str,
    champion: Mapping[str, ExamResult],
    candidate: Mapping[str, ExamResult],
    best_ever: Mapping[str, ExamResult],
    kl_old: float | None,
    readable: float,
    alpha: float = ALPHA,
    cost_limits: Mapping[str, float] = NO_LIMITS,
) -> Verdict:
    """Judge a candidate trained on `task`.

    Args:
        champion: its exam by task, on the same seeds; only the trained task and those that are guarded.
        candidate: its exam by task; every task of `champion` must be there.
        best_ever: the best exam any champion sat, by task; a task without one is held to the champion alone.
        kl_old: nats per decision on old tasks, None when there was nothing to remember.
        readable: share of the candidate's exam actions that were readable, 0..1.
        alpha: how often a candidate without a gain may seem to have one.
        cost_limits: cost per episode that the stream allows, by task; 0 where it does not say.

    Raises:
        ValueError: the candidate did not sit an exam the champion sat, or the two share no seed.
    """
    missing = sorted(champion.keys() - candidate.keys())
    if missing or task not in champion:
        raise ValueError(f"the gate needs both exams of {', '.join(missing) or task}")
    facts = [_gain_sentence(task, champion[task], candidate[task], alpha)]
    worst, margin = _worst_other(settings, task, champion, candidate, best_ever)
    if worst:
        facts.append(f"worst old task {worst} {margin:+.2f} (allowed -{settings.max_loss:.2f})")
    faults = [
        *_exam_faults(settings, candidate),
        *_gain_faults(settings, champion[task], candidate[task], alpha),
        *_loss_faults(settings, champion, candidate, best_ever),
        *_cost_faults(settings, champion, candidate, cost_limits),
        *_behaviour_faults(settings, kl_old, readable),
    ]
    told = "; ".join(facts)
    if not settings.on:
        would = f"a gate would have refused: {', and '.join(faults)}" if faults else "a gate would have promoted it too"
        return Verdict(True, f"gate off, kept: {told}; {would}")
    if faults:
        return Verdict(False, f"refused: {', and '.join(faults)} ({told})")
    return Verdict(True, f"promoted: {told}")


def surely_gained(settings: GateSettings, champion: ExamResult, candidate: ExamResult, alpha: float = ALPHA) -> bool:
    """Whether the one-sided lower bound of the gain is above `min_gain`."""
    return gain_lower_bound(champion, candidate, alpha) > settings.min_gain


def doomed(
    settings: GateSettings,
    task: str,
    champion: Mapping[str, ExamResult],
    so_far: Mapping[str, ExamResult],
    best_ever: Mapping[str, ExamResult],
    alpha: float = ALPHA,
) -> str:
    """Why the rest of the candidate's exam is not worth sitting; "" while it may still be promoted.

    It is refused or goes on: what ends early never promotes, so that `alpha` holds as it does for whole exams.

    Args:
        champion: its whole exams, of the trained task and of what is guarded.
        so_far: what the candidate sat of them.
    """
    for name, result in so_far.items():
        if name not in champion:
            continue
        whole, sat = len(champion[name].seeds), len(result.seeds)
        reach, error = prospect(champion[name], result)
        was = result.mean - gain(champion[name], result)  # the champion's, on the seeds that were sat
        moved = f"from {was:.2f} to {result.mean:.2f} on {sat} of {whole} seeds"
        if name == task:
            hopeful = reach - NormalDist().inv_cdf(1 - alpha) * error > settings.min_gain
            if not (hopeful if sat < whole else surely_gained(settings, champion[name], result, alpha)):
                return f"the gain on {task} is not sure ({moved})"
        elif champion[name].mean + reach < (least := floor(settings, champion[name], best_ever.get(name))) - 1e-9:
            learned = f", though {_gain_sentence(task, champion[task], so_far[task], alpha)}" if task in so_far else ""
            return f"{name} fell {moved} where {least:.2f} is the least allowed{learned}"
    return ""


def floor(settings: GateSettings, champion: ExamResult, best: ExamResult | None) -> float:
    """Least success the candidate must show on a task.

    The champion less `max_loss`; nor more than that under the best ever, so that many small losses do not add up. A
    champion that is already below that (after a run without a gate, say) needs only not to fall further: else nothing
    could ever be promoted again.
    """
    least = champion.mean - settings.max_loss
    return least if best is None else max(least, min(best.mean - settings.max_loss, champion.mean))


def _exam_faults(settings: GateSettings, candidate: Mapping[str, ExamResult]) -> list[str]:
    short = min(candidate.values(), key=lambda result: len(result.seeds))
    if len(short.seeds) >= settings.min_exam:
        return []
    return [
        f"the exam of {short.task} has {len(short.seeds)} seeds where {settings.min_exam} are needed (gate.min_exam)"
    ]


def _gain_faults(settings: GateSettings, champion: ExamResult, candidate: ExamResult, alpha: float) -> list[str]:
    if surely_gained(settings, champion, candidate, alpha):
        return []
    return [f"the gain on {candidate.task} is not sure (its bound must be above {settings.min_gain:+.2f})"]


def _loss_faults(
    settings: GateSettings,
    champion: Mapping[str, ExamResult],
    candidate: Mapping[str, ExamResult],
    best_ever: Mapping[str, ExamResult],
) -> list[str]:
    faults = []
    for name, held in champion.items():
        best = best_ever.get(name, held)
        least = floor(settings, held, best)
        if candidate[name].mean < least - 1e-9:
            faults.append(
                f"{name} fell to {candidate[name].mean:.2f} where {least:.2f} is the least allowed"
                f" (champion {held.mean:.2f}, best ever {best.mean:.2f})"
            )
    return faults


def _cost_faults(
    settings: GateSettings,
    champion: Mapping[str, ExamResult],
    candidate: Mapping[str, ExamResult],
    limits: Mapping[str, float],
) -> list[str]:
    faults = []
    for name, held in champion.items():
        rise, surely = cost_rise(held, candidate[name])
        if surely > settings.max_cost_rise and candidate[name].mean_cost > limits.get(name, 0.0):
            faults.append(
                f"an episode of {name} costs {candidate[name].mean_cost:.2f} where it cost {held.mean_cost:.2f}"
                f" ({rise:+.2f}, at least {surely:+.2f}, allowed {settings.max_cost_rise:+.2f})"
            )
    return faults


def _behaviour_faults(settings: GateSettings, kl_old: float | None, readable: float) -> list[str]:
    faults = []
    if kl_old is not None and not kl_old <= settings.max_kl_old:  # so that not-a-number is a fault too
        faults.append(f"KL on old tasks is {kl_old:.3f} nats (cap {settings.max_kl_old:.3f})")
    if not readable >= settings.min_readable:
        faults.append(f"only {readable:.1%} of its actions were readable (floor {settings.min_readable:.1%})")
    return faults


def _gain_sentence(task: str, champion: ExamResult, candidate: ExamResult, alpha: float) -> str:
    least, more = gain_lower_bound(champion, candidate, alpha), gain(champion, candidate)
    was = abs(candidate.mean - more)  # the champion's, on the seeds that both sat; abs, for 0 is not -0
    return f"{task} {was:.2f} -> {candidate.mean:.2f} ({more:+.2f}, at least {least:+.2f})"


def _worst_other(
    settings: GateSettings,
    task: str,
    champion: Mapping[str, ExamResult],
    candidate: Mapping[str, ExamResult],
    best_ever: Mapping[str, ExamResult],
) -> tuple[str, float]:
    """The other task nearest to its floor, and its change against what it is held to; "" if there is no other."""
    changes = {
        name: candidate[name].mean - floor(settings, held, best_ever.get(name)) - settings.max_loss
        for name, held in champion.items()
        if name != task
    }
    worst = min(changes, key=lambda name: changes[name], default="")
    return worst, changes.get(worst, 0.0)
