"""The candidate of a running cycle, as `schedules.candidates` examines it."""

import shutil
from collections.abc import Generator, Sequence

from agent.batch import Sample, samples_of
from agent.learner import Metrics
from agent.rehearsal import Rehearsal
from agent.report import UpdateReport
from envs.types import Episode
from schedules.candidates import Case, Scores
from schedules.exam import readable_share
from schedules.gate import Verdict
from schedules.loop import Loop

ASKED = 8
"""Decisions of each part of an exam by which two adapters are compared."""


class Forked:
    """Implements `schedules.candidates.Candidate` with the loop's policy, whose candidate is what was learned.

    Attributes:
        asked: some decisions of its last exam.
        kl_here: KL on old tasks in nats per decision where it is now; of a share, once its `behaviour` was asked.
    """

    def __init__(self, loop: Loop, task: str, rehearsal: Rehearsal, kl_old: float | None) -> None:
        """`kl_old` is that of what was learned, nats per decision."""
        self.loop, self.task, self.rehearsal, self.kl_old = loop, task, rehearsal, kl_old
        self.kl_here = kl_old
        self.learned = loop.policy.snapshot()
        self.share = 1.0
        self.asked: list[Sample] = []
        self._own: list[Episode] = []

    def move(self, share: float) -> None:
        """See `Candidate`."""
        if share != self.share:
            self.loop.policy.restore(self.learned)
            self.loop.policy.interpolate(share)
        self.share, self.asked, self._own = share, [], []
        self.loop.sample.at(share)
        self.kl_here = self.kl_old if share == 1.0 else None

    def sit(self, tasks: Sequence[str], part: range) -> Scores:
        """See `Candidate`."""
        scores, episodes = self.loop.examine("candidate", tasks, part)
        self.loop.sample.examined(episodes)
        self.asked += samples_of(episodes[:ASKED])[:ASKED]
        self._own += [episode for episode in episodes if episode.task == self.task]
        return scores

    def behaviour(self) -> tuple[float | None, float]:
        """See `Candidate`."""
        if self.share != 1.0:
            with self.loop.phase("update"):
                self.kl_here = self.rehearsal.measure(self.loop.policy)
        return self.kl_here, readable_share(self._own, self.task)


def proven(loop: Loop, verdict: Verdict, candidate: Forked, algorithm: str) -> Verdict:
    """Stage what is to become champion; it is refused if another process reads something else from what was written.

    Raises:
        NotFinite: its log-probs are no numbers.
    """
    loop.stage(verdict.accepted, candidate.task, algorithm)
    if not verdict.accepted or loop.witness is None:
        return verdict
    with loop.phase("checkpoint", "reading the adapter in another process"):
        fault = loop.witness.fault(loop.policy, loop.folder / loop.staged, candidate.asked)
    if fault:
        shutil.rmtree(loop.folder / loop.staged)
        return Verdict(False, f"refused: {fault}")
    return verdict


def case_of(loop: Loop, task: str, before: Scores) -> Case:
    """What a candidate trained on `task` is held to; `before` are the champion's scores."""
    stream = loop.stream
    limits = {name: r.rewards.cost.limit for name, r in stream.regimes.items() if r.rewards.cost is not None}
    return Case(
        stream.gate, task, loop.guarded(before, task), loop.best_ever(), loop.live(loop.next_cycle),
        stream.exam.episodes, stream.exam.stop_early, limits,
    )  # fmt: skip


def examined_within(
    loop: Loop, task: str, steps: Generator[Metrics, None, UpdateReport]
) -> Generator[Metrics, None, UpdateReport]:
    """The same update, with exams of old skills in between (`exam.within`): the lowest tell the stability gap."""
    every, taken = loop.stream.exam.within, 0
    while True:
        try:
            metrics = next(steps)
        except StopIteration as end:
            return end.value
        taken += 1
        if every is not None and taken % every == 0 and (skills := loop.skills(loop.next_cycle, task)):
            for name, result in loop.examine("candidate", skills)[0].items():
                loop.within[name] = min(result.mean, loop.within.get(name, 1.0))
        yield metrics
