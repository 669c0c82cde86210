"""What a cycle works with: policy, memory, worlds, ledger and record of one run, opened and closed together."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from agent.embedders import build_embedder
from agent.learner import Metrics
from agent.policy import Policy
from agent.report import UpdateReport
from envs.collect import WorldPool, check_repeatable
from envs.component import load
from envs.types import Episode
from memory.database import Database
from memory.recall import Recall
from memory.store import MemorySettings, ReplayMemory
from schedules import record
from schedules.checkpoint import Committed, Ledger, environment
from schedules.clock import PhaseClock
from schedules.config import CyclePlan, StreamSettings
from schedules.exam import sit
from schedules.folder import DATABASE
from schedules.gate import Verdict
from schedules.lineage import MANIFEST, manifest
from schedules.metrics import ExamResult, ScoreMatrix
from schedules.progress import Progress
from schedules.report import CycleReport, cycle_json, plain, slim, tracking_record
from schedules.seeds import generator
from schedules.timeline import last_cycle, last_row, restore_matrix, rollbacks, timeline
from schedules.traces import Sample
from schedules.tracking import Tracker

Scores = dict[str, ExamResult]

FAILURES = 64
"""Failed episodes of live regimes that recall is told of: of training, never of an exam."""


class Loop:
    """One run in its folder. `matrix` holds the scores of every champion so far; None before the first examination."""

    def __init__(self, stream: StreamSettings, folder: Path, progress: Progress) -> None:
        self.stream = stream
        self.folder = folder
        self.progress = progress
        self.clock = PhaseClock()
        self.decisions = 0
        self.curve: list[Metrics] = []
        self.sample = Sample(stream.tracking.traces)
        worlds = {name: regime.world for name, regime in stream.regimes.items()}
        self.pool = WorldPool(worlds, stream.workers)
        self.database = Database(folder / DATABASE)
        try:
            self._open()
        except BaseException:
            self.database.close()
            raise

    def _open(self) -> None:
        stream = self.stream
        self.ledger = Ledger(self.database)
        model = stream.model.with_(**self.ledger.chosen())
        self.policy = Policy(model, stream.lora, stream.seed, stream.speech)
        facts = {"stream": stream.model_dump(mode="json"), "base": self.policy.checkpoint.identity}
        self.ledger.bind(facts | environment(self.policy.threads, self.policy.budget.tokens))
        plan = stream.memory
        settings = MemorySettings(capacity=plan.capacity, capacity_mb=plan.capacity_mb, retention=plan.retention)
        embedder = build_embedder(plan.embedder, lambda: self.policy)
        self.memory = ReplayMemory(self.database, embedder, settings)
        self.committed = self.ledger.cycles()
        self.regimes = timeline(stream, rollbacks(self.committed))
        self.matrix = restore_matrix(self.regimes, self.committed)
        self.memory.forget_after(last_cycle(self.committed))
        if self.committed and self.committed[-1].champion:
            self.policy.load_champion(self.folder / self.committed[-1].champion)
        self._recall: Recall = load("memory.recall", stream.memory.recall, "recall").build()
        self.tracker = Tracker(self.folder)

    def close(self) -> None:
        """Close what is open; what is committed stays."""
        self.pool.close()
        self.memory.save_index(always=True)
        self.database.close()

    # -- a cycle's parts, in the order they are used ------------------------------------------------------------------

    @property
    def next_cycle(self) -> int:
        """Number of the cycle to run: 0 is the examination before any training. A rollback has a number, too."""
        return len(self.committed)

    @property
    def next_plan(self) -> int:
        """Which of the planned cycles that is, counted from 1."""
        return self.next_cycle - len(rollbacks(self.committed))

    def begin_cycle(self, task: str) -> int:
        """Start the clock."""
        self.clock.restart()
        self.policy.forget()
        self.decisions = 0
        self.curve = []
        self.sample.begin(task)
        self._staged = ""
        self.progress.cycle(self.next_cycle, len(self.stream.cycles), task)
        return self.next_cycle

    def check_worlds(self) -> None:
        """Make sure that every world repeats its starts: groups and exams rest on it."""
        for task in self.stream.regimes:
            check_repeatable(self.pool, task, (1, 2))

    def last_scores(self, cycle: int) -> Scores:
        """The champion's results, as far as they are known, on what lives in this cycle."""
        assert self.matrix is not None
        row = {cell.task: cell for cell in self.matrix.rows[-1] if cell is not None}
        return {name: row[name] for name in self.live(cycle) if name in row}

    def champion_exam(self, task: str) -> Scores:
        """The champion's results on what lives in this cycle: the last row, and an exam of a world that begins now."""
        known = self.last_scores(self.next_cycle)
        new = [name for name in self.live(self.next_cycle) if name not in known]
        return {**known, **(self.examine("champion", task, new)[0] if new else {})}

    def examine(self, adapter: str, task: str, tasks: Sequence[str] | None = None) -> tuple[Scores, float]:
        """Let an adapter sit the exam of every live regime, or of `tasks`.

        Returns:
            Results by regime, and the share of readable actions on `task` (1 where it was not examined).
        """
        tasks = self.live(self.next_cycle) if tasks is None else tasks
        with self.phase("exam", f"{adapter}, {len(tasks)} regimes"), self.policy.using(adapter):
            scores, episodes = sit(
                self.policy, tasks, self.stream.exam.episodes, self.pool, self.stream.width, self.progress.tick
            )
        self.decisions += sum(len(e.steps) for e in episodes)
        self.sample.examined(adapter, episodes)
        readable = [step.action.readable for e in episodes if e.task == task for step in e.steps]
        return scores, float(np.mean(readable)) if readable else 1.0

    def recall(self, cycle: int, task: str) -> list[Episode]:
        """Episodes of earlier cycles to rehearse: of live regimes other than the one being trained."""
        plan = self.stream.memory
        others = [name for name in self.live(cycle) if name != task]
        if not plan.on or not others:
            return []
        failures = self.memory.failures(FAILURES, self.rng(cycle, "failures"), cycle, self.live(cycle))
        rng = self.rng(cycle, "recall")
        return self.memory.draw(self._recall, plan.rehearsal_steps, rng, cycle, others, like=failures)

    def skills(self, cycle: int, task: str) -> list[str]:
        """Live regimes beside `task` that are known to the pilot or were learned."""
        assert self.matrix is not None
        return [name for name in self.live(cycle) if name in self.matrix.skills and name != task]

    def last_multiplier(self, task: str) -> float | None:
        """The price of cost with which the last cycle of this task ended."""
        last = [entry.report for entry in self.committed[1:] if entry.report["task"] == task]
        return last[-1].get("cost_multiplier") if last else None

    def played(self, episodes: Sequence[Episode]) -> None:
        """Count what was played."""
        self.decisions += sum(len(e.steps) for e in episodes)
        self.sample.played(episodes)
        self.progress.success(sum(e.success for e in episodes) / max(1, len(episodes)))

    def guarded(self, scores: Scores, task: str) -> Scores:
        """Those of `scores` that the gate looks at: `task`, and what it must not lose."""
        assert self.matrix is not None
        if self.stream.gate.guard == "live":
            return scores
        return {name: score for name, score in scores.items() if name in self.matrix.skills | {task}}

    def best_ever(self) -> Scores:
        """The best exam any champion sat on each live regime."""
        assert self.matrix is not None
        return self.matrix.best_ever()

    def settle(self, accepted: bool) -> None:
        """The candidate becomes champion, or is forgotten."""
        if accepted:
            self.policy.adopt()
        else:
            self.policy.discard()

    def stage(self, accepted: bool, task: str, algorithm: str) -> None:
        """Write the adapter that is to become champion: whole and proven to reload, before anything is committed.

        Raises:
            NotFinite: its log-probs are no numbers.
        """
        if accepted:
            with self.phase("checkpoint"):
                self._staged = f"adapters/cycle-{self.next_cycle:03d}"
                beside = {MANIFEST: json.dumps(manifest(self, task, algorithm), indent=1)}
                self.policy.save(self.folder / self._staged, beside)

    def commit(
        self,
        plan: CyclePlan,
        reason: str,
        before: Scores,
        after: Scores,
        update: UpdateReport,
        verdict: Verdict,
        multiplier: float | None,
    ) -> CycleReport:
        """Commit everything in one transaction, then write the report and feed MLflow."""
        assert self.matrix is not None
        cycle = self.next_cycle
        self.matrix = self.matrix.extended(plan.task, verdict.accepted, after if verdict.accepted else before)
        report = CycleReport(
            cycle, plan.task, update.algorithm, reason, _means(before), _means(after), update,
            verdict.accepted, verdict.sentence, self.decisions, self.clock.seconds(), multiplier,
            self.memory.draws.counts(),
        )  # fmt: skip
        self._commit(cycle, report, self._staged if verdict.accepted else self.committed[-1].champion)
        return report

    def commit_start(self, scores: Scores) -> None:
        """Commit cycle 0: the scores before any training, and what was lived in."""
        self.matrix = ScoreMatrix.start(self.regimes, scores)
        self._commit(0, None, "")

    def _commit(self, cycle: int, report: CycleReport | None, champion: str) -> None:
        assert self.matrix is not None
        told = cycle_json(report) if report else {"cycle": 0, "seconds": self.clock.seconds()}
        entry = Committed(cycle, told, last_row(self.matrix), champion)
        with self.phase("checkpoint"):
            outgoing = tracking_record(
                self.matrix, record.now_ms(), told if report else None, self.curve,
                champion if report and report.accepted else "", reuse=self.policy.reuse(),
            )  # fmt: skip
            with self.database.transaction():
                self.memory.settle(self.rng(cycle, "settle"))
                self.ledger.commit(entry, {**slim(outgoing), "traces": plain(self.sample.taken())})
                self.ledger.rechoose(self.policy.budget.tokens)
        self.committed.append(entry)
        self.memory.save_index()
        if report:
            self.progress.done(report.verdict)
        self.record()

    def record(self) -> None:
        """Tell of the cycle that was just committed; only then its seconds are whole."""
        self.tell()
        self.committed[-1].report["seconds"] = self.clock.seconds()
        self.ledger.amend(self.committed[-1])
        self.write_report()

    def tell(self) -> None:
        """Send MLflow what it has not confirmed, and rewrite the report."""
        assert self.matrix is not None
        with self.phase("tracking", "telling MLflow"):
            told = record.send(self.tracker, self.ledger, self.stream, self.matrix)
        if told:
            self.progress.done(told)
        self.write_report()

    def write_report(self) -> None:
        """Rewrite `report.json` from what is committed."""
        assert self.matrix is not None
        stats = self.memory.stats()
        record.write(self.folder, self.stream, self.matrix, self.committed, stats, self.tracker.ids)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def live(self, row: int) -> list[str]:
        """Regimes that are there in this row of the score matrix."""
        return [regime.name for regime in self.regimes if regime.live(row)]

    def rng(self, cycle: int, use: str) -> np.random.Generator:
        """The generator of one use in one cycle."""
        return generator(self.stream.seed, cycle, use)

    @contextmanager
    def phase(self, name: str, detail: str = "") -> Iterator[None]:
        """For the length of a block, seconds belong to `name` and the display says so."""
        if detail:
            self.progress.phase(name, detail)
        with self.clock.phase(name):
            yield


def _means(scores: Scores) -> dict[str, float | None]:
    return {name: result.mean for name, result in scores.items()}
