"""From a learned candidate to a verdict: exams in parts, the gate, and what lies on the way from the champion to it.

The whole way is tried first. Where it surely gained, but lost something else, shares of the way are tried in turn
(`gate.interpolate`); where it did not surely gain, less of it is no remedy and nothing more is tried. That order holds
the gate's error: of candidates that truly gained nothing, 5 % seem to on the whole way, whatever follows; and where the
whole way truly gained, the shares have 5 % between them (Bonferroni). Of the allowed loss, a share has that share: else
three tries would let through what the first one rightly refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from schedules.comparison import ALPHA, ExamResult, joined
from schedules.gate import GateSettings, Verdict, doomed, judge, surely_gained

Scores = dict[str, ExamResult]


@dataclass(frozen=True, slots=True)
class Case:
    """What a candidate is held to.

    Attributes:
        task: what it trained.
        champion: the champion's whole exams of the trained task and of what is guarded.
        best_ever: see `schedules.gate.judge`.
        tasks: all that a whole exam examines.
        episodes: seeds of a whole exam of each.
        stop_early: whether an exam ends once its candidate is surely refused.
        cost_limits: see `schedules.gate.judge`.
    """

    settings: GateSettings
    task: str
    champion: Mapping[str, ExamResult]
    best_ever: Mapping[str, ExamResult]
    tasks: Sequence[str]
    episodes: int
    stop_early: bool = True
    cost_limits: Mapping[str, float] = field(default_factory=dict)


class Candidate(Protocol):
    """What can be examined at any share of the way from the champion to what was learned."""

    def move(self, share: float) -> None:
        """Be at this share of the way; 1 is what was learned."""

    def sit(self, tasks: Sequence[str], part: range) -> Scores:
        """These places of the exam of each task."""

    def behaviour(self) -> tuple[float | None, float]:
        """KL on old tasks in nats per decision, and the readable share of its exam actions since `move`."""


def decide(case: Case, candidate: Candidate) -> tuple[Scores, Verdict]:
    """Examine and judge; a candidate that is promoted stays at its share of the way.

    Returns:
        Scores of what is promoted, or else of the whole way, and the verdict. Of an exam that ended early, only what
        was sat whole or in part.
    """
    candidate.move(1.0)
    scores, verdict = _tried(case, candidate, ALPHA)
    if verdict.accepted or not _worth_less(case, scores):
        return scores, verdict
    shares, told = case.settings.interpolate, []
    for share in shares:
        candidate.move(share)
        strict = replace(case, settings=case.settings.with_(max_loss=share * case.settings.max_loss))
        reached, then = _tried(strict, candidate, ALPHA / len(shares))
        if then.accepted:
            why = f"at {share:g} of the way; the whole way was {verdict.sentence}"
            return reached, Verdict(True, f"{then.sentence}; {why}", share)
        told.append(f"at {share:g} of the way {then.sentence}")
    candidate.move(1.0)
    return scores, replace(verdict, sentence="; ".join([verdict.sentence, *told]))


def parts(case: Case) -> list[tuple[list[str], range]]:
    """The pieces in which an exam is sat: what ends most exams comes first, and what ends none comes last."""
    if not (case.stop_early and case.settings.on):
        return [(list(case.tasks), range(case.episodes))]
    guarded = [task for task in case.tasks if task in case.champion and task != case.task]
    rest = [task for task in case.tasks if task not in case.champion]
    half = case.episodes // 2
    halves = (range(half), range(half, case.episodes))
    return [(tasks, part) for tasks in ([case.task], guarded) for part in halves if tasks] + (
        [(rest, range(case.episodes))] if rest else []
    )


def _tried(case: Case, candidate: Candidate, alpha: float) -> tuple[Scores, Verdict]:
    """One exam and its verdict."""
    sat: dict[str, list[ExamResult]] = {}
    for tasks, part in parts(case):
        for name, result in candidate.sit(tasks, part).items():
            sat.setdefault(name, []).append(result)
        scores = {name: joined(sat[name]) for name in case.tasks if name in sat}
        complete = len(scores) == len(case.tasks) and all(len(r.seeds) == case.episodes for r in scores.values())
        if complete:
            break
        why = doomed(case.settings, case.task, case.champion, scores, case.best_ever, alpha)
        if why:
            return scores, Verdict(False, f"refused early: {why}")
    kl_old, readable = candidate.behaviour()
    limits = case.cost_limits
    args = case.settings, case.task, case.champion, scores, case.best_ever, kl_old, readable, alpha, limits
    return scores, judge(*args)


def _worth_less(case: Case, scores: Scores) -> bool:
    """Whether a share of the way could be promoted: the whole of it surely gained, on an exam that is long enough."""
    settings, mine = case.settings, scores[case.task]
    enough = settings.min_exam <= case.episodes == len(mine.seeds)
    return enough and surely_gained(settings, case.champion[case.task], mine)
