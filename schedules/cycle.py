"""READ THIS FIRST: one adaptation cycle, from the champion's scores to the verdict.

exam of the champion (cached) -> recall -> fork -> [play -> remember -> learn] x rounds -> exam of the candidate
-> gate: promote or roll back -> one commit -> record
"""

from collections.abc import Generator, Iterator, Sequence

from agent.finite import NotFinite
from agent.learner import Metrics
from agent.rehearsal import rehearse
from agent.report import UpdateReport
from envs.collect import collect
from envs.types import Episode, Ticket
from schedules.config import CyclePlan
from schedules.gate import Verdict, judge
from schedules.loop import Loop
from schedules.report import CycleReport
from schedules.seeds import training_seed


def run_cycle(loop: Loop, plan: CyclePlan, reason: str) -> CycleReport:
    """Train a candidate on `plan.task`, and keep it only if the gate lets it through."""
    cycle = loop.begin_cycle(plan.task)
    before = loop.champion_exam(plan.task)
    with loop.phase("memory", f"recalling what {plan.task} must not overwrite"):
        remembered = loop.recall(cycle, plan.task)
        rehearsal = rehearse(loop.policy, remembered, loop.stream.memory.rehearsal_steps, loop.rng(cycle, "rehearse"))
    loop.policy.fork()
    update = plan.build()
    rounds = play_rounds(
        loop, cycle, plan.task, update.settings.rounds, update.settings.groups, update.settings.group_size
    )
    try:
        with loop.phase("update", f"{plan.update['type']} on {plan.task}"):
            report = drain(loop, update.steps(loop.policy, rounds, rehearsal, loop.rng(cycle, "update")))
        after, readable = loop.examine("candidate", plan.task)
        guarded, best = loop.guarded(before, plan.task), loop.best_ever()
        verdict = judge(loop.stream.gate, plan.task, guarded, after, best, report.kl_old_tasks, readable)
    except NotFinite as error:
        after, report, verdict = before, broken_off(plan, loop.curve, error), Verdict(False, f"refused: {error}")
    loop.settle(verdict.accepted)
    return loop.commit(cycle, plan, reason, before, after, report, verdict)


def broken_off(plan: CyclePlan, curve: Sequence[Metrics], error: NotFinite) -> UpdateReport:
    """What is left to say of an update that came upon a number that is none."""
    return UpdateReport(plan.update["type"], len(curve), 0, 0, None, None, skipped=str(error))


def play_rounds(loop: Loop, cycle: int, task: str, rounds: int, groups: int, size: int) -> Iterator[Sequence[Episode]]:
    """Fresh episodes, one round at a time, each played by the candidate as it is when the round is asked for."""
    for number in range(rounds):
        tickets = [
            ticket(loop, cycle, task, number, group, member) for group in range(groups) for member in range(size)
        ]
        with loop.phase("rollout", f"{task}, round {number + 1} of {rounds}"):
            episodes = collect(loop.policy, tickets, loop.pool, loop.stream.width, loop.progress.tick)
            loop.played(episodes)
        with loop.phase("memory"):
            loop.memory.add(episodes)
        yield episodes


def ticket(loop: Loop, cycle: int, task: str, round_: int, group: int, member: int) -> Ticket:
    """One episode of a group; members share the world's seed and differ in their sampling."""
    name = f"{loop.stream.stream}/{cycle}/{task}/{round_}/{group}"
    seed = training_seed(loop.stream.seed, name)
    return Ticket(f"{loop.stream.seed}/{name}/{member}", task, seed, name, member, cycle)


def drain(loop: Loop, steps: Generator[Metrics, None, UpdateReport]) -> UpdateReport:
    """Run an update to its end. It yields after each optimizer step: there others may act (the service does)."""
    while True:
        try:
            metrics = next(steps)
        except StopIteration as end:
            return end.value
        loop.curve.append(metrics)
        loop.progress.step(metrics)


def run_stream(loop: Loop) -> None:
    """Run what is left of a stream: the examination before any training, then every planned cycle."""
    loop.check_worlds()
    if loop.next_cycle == 0:
        begin(loop)
    plans = loop.stream.cycles
    for number in range(loop.next_cycle, len(plans) + 1):
        run_cycle(loop, plans[number - 1], reason=f"planned: cycle {number} of {len(plans)}")


def begin(loop: Loop) -> None:
    """Cycle 0: examine the untouched policy, and live in the known regimes so that memory holds what to guard."""
    loop.begin_cycle("before any training")
    scores, _ = loop.examine("champion", "")
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
