"""READ THIS FIRST: one adaptation cycle, from the champion's scores to the verdict.

exam of the champion (cached) -> recall -> fork -> [play -> remember -> learn] x rounds -> exam of the candidate
-> gate: promote it, or a share of the way to it, or roll back -> one commit -> record
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial

from agent.finite import NotFinite
from agent.learner import Metrics
from agent.lesson import Lesson
from agent.rehearsal import rehearse
from agent.report import UpdateReport
from envs.collect import collect
from envs.types import Ticket
from schedules.candidates import decide
from schedules.config import CyclePlan
from schedules.forked import Forked, case_of, examined_within, proven
from schedules.gate import Verdict
from schedules.loop import Loop
from schedules.patience import eased, stop_if_paused
from schedules.playing import Player
from schedules.remembered import RememberedPairs, alike, recall, trials
from schedules.report import CycleReport
from schedules.seeds import training_seed
from schedules.variants import sit_variants


def run_cycle(loop: Loop, plan: CyclePlan, reason: str) -> CycleReport:
    """Train a candidate on `plan.task`, and keep it only if the gate lets it through."""
    cycle = loop.begin_cycle(plan.task)
    plan, reason = eased(loop, plan, reason)
    before = loop.last_scores(cycle)
    player = Player(loop, cycle, plan.task)
    try:
        before = loop.champion_exam()
        lesson = prepare(loop, cycle, plan.task, player)
        with loop.phase("update", f"{plan.update['type']} on {plan.task}"):
            report = drain(loop, examined_within(loop, plan.task, plan.build().steps(lesson)))
        candidate = Forked(loop, plan.task, lesson.rehearsal, report.kl_old_tasks)
        after, verdict = decide(case_of(loop, plan.task, before), candidate)
        report = replace(report, kl_old_tasks=candidate.kl_here)
        verdict = proven(loop, verdict, candidate, report.algorithm)
        sit_variants(loop, verdict.accepted)
    except NotFinite as error:
        after, verdict = before, Verdict(False, f"refused: {error}")
        report = UpdateReport(plan.update["type"], len(loop.curve), 0, 0, None, None, skipped=str(error))
    loop.settle(verdict.accepted)
    return loop.commit(plan, reason, before, after, report, verdict, player.multiplier)


def prepare(loop: Loop, cycle: int, task: str, player: Player) -> Lesson:
    """Recall what must not be lost, fork the candidate, and hand both to the update."""
    with loop.phase("memory", f"recalling what {task} must not overwrite"):
        remembered = recall(loop, cycle, task)
        rehearsal = rehearse(loop.policy, remembered, loop.stream.memory.rehearsal_steps, loop.rng(cycle, "rehearse"))
        loop.memory.note_drift(rehearsal.drift)
    loop.policy.fork()
    return Lesson(
        loop.policy, player, rehearsal, loop.rng(cycle, "update"), trials(loop, task), RememberedPairs(loop, cycle),
        partial(alike, loop), loop.memory,
    )  # fmt: skip


def drain(loop: Loop, steps: Generator[Metrics, None, UpdateReport]) -> UpdateReport:
    """Run an update to its end. It yields after each optimizer step: there others may act (in a life, the champion)."""
    while True:
        try:
            metrics = next(steps)
        except StopIteration as end:
            return end.value
        loop.curve.append(metrics)
        loop.progress.step(metrics)
        with loop.phase("other"):
            loop.turn()


def run_stream(loop: Loop) -> None:
    """Run what is left of a stream: the examination before any training, then every planned cycle.

    Raises:
        UserError: one task was refused too often in a row (`gate.patience`).
    """
    loop.check_worlds()
    if loop.next_cycle == 0:
        begin(loop)
    plans = loop.stream.cycles
    stop_if_paused(loop)
    for number in range(loop.next_plan, len(plans) + 1):
        run_cycle(loop, plans[number - 1], reason=f"planned: cycle {number} of {len(plans)}")
        stop_if_paused(loop)


def begin(loop: Loop) -> None:
    """Cycle 0: examine the untouched policy, and live in the known regimes so that memory holds what to guard."""
    loop.begin_cycle("before any training")
    scores, _ = loop.examine("champion", loop.live(0))
    sit_variants(loop, promoted=True)
    lived = [
        Ticket(f"{loop.stream.seed}/{name}", task, training_seed(loop.stream.seed, name), name, 0, 0)
        for task in loop.live(0)
        if loop.stream.regimes[task].known
        for name in (f"{loop.stream.stream}/0/{task}/0/{i}" for i in range(loop.stream.memory.lived))
    ]
    with loop.phase("rollout", f"living in what is known: {len(lived)} episodes"):
        episodes = collect(loop.policy, lived, loop.pool, loop.stream.width, loop.progress.tick)
        loop.played(episodes)
    with loop.phase("memory"):
        loop.memory.add(episodes)
    loop.commit_start(scores)
