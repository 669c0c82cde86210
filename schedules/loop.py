"""What a cycle works with: policy, memory, worlds, ledger and record of one run, opened and closed together."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from agent.embedders import build_embedder
from agent.examples import Examples
from agent.learner import Metrics
from agent.policy import Policy
from agent.report import UpdateReport
from agent.witness import Witness
from envs.collect import WorldPool, check_repeatable
from envs.types import Episode
from memory.database import Database
from memory.store import MemorySettings, ReplayMemory
from schedules import record
from schedules.checkpoint import Committed, Ledger, environment
from schedules.clock import PhaseClock
from schedules.comparison import gain_on
from schedules.config import CyclePlan, StreamSettings
from schedules.exam import exam_facts, in_words, sit
from schedules.folder import DATABASE
from schedules.gate import Verdict
from schedules.led import Led
from schedules.lineage import MANIFEST, manifest
from schedules.metrics import ExamResult, ScoreMatrix
from schedules.progress import Progress
from schedules.report import CycleReport, cycle_json, plain, tracking_record
from schedules.seeds import generator
from schedules.timeline import last_cycle, last_row, restore_matrix, rollbacks
from schedules.traces import Sample
from schedules.tracking import Tracker
from schedules.variants import last_variants, means, variants_row, worlds_of

Scores = dict[str, ExamResult]


class Loop(Led):
    """One run in its folder. `matrix` holds the scores of every champion so far; None before the first examination."""

    def __init__(self, stream: StreamSettings, folder: Path, progress: Progress) -> None:
        self.stream = stream
        self.folder = folder
        self.progress = progress
        self.clock = PhaseClock()
        self.decisions = 0
        self.curve: list[Metrics] = []
        self.preface: Examples | None = None
        self.sample = Sample(stream.tracking.traces)
        self.pool = WorldPool(worlds_of(stream), stream.workers)
        self.database = Database(folder / DATABASE, stream.memory.durability)
        try:
            self._open()
        except BaseException:
            self.database.close()
            raise

    def _open(self) -> None:
        stream = self.stream
        self.ledger = Ledger(self.database)
        self.regimes = self.columns()
        model = stream.model.with_(**self.ledger.chosen())
        self.policy = Policy(model, stream.lora, stream.seed, stream.speech)
        facts = {"command": self.command, "stream": stream.model_dump(mode="json")}
        facts["base"] = self.policy.checkpoint.identity
        told = self.ledger.bind(facts | environment(self.policy.threads, self.policy.budget.tokens))
        plan = stream.memory
        settings = MemorySettings(
            capacity=plan.capacity, capacity_mb=plan.capacity_mb, pair_capacity=plan.pair_capacity,
            retention=plan.retention,
        )  # fmt: skip
        self.embedder = build_embedder(plan.embedder, lambda: self.policy)
        self.memory = ReplayMemory(self.database, self.embedder, settings)
        self.committed = self.ledger.cycles()
        self.matrix = restore_matrix(self.regimes, self.committed)
        self.memory.forget_after(last_cycle(self.committed))
        if self.committed and self.committed[-1].champion:
            self.policy.load_champion(self.folder / self.committed[-1].champion)
        self.tracker = Tracker(self.folder)
        for change in told:
            self.progress.done(change)
        fresh = stream.gate.on and stream.gate.reload == "fresh"
        self.witness = Witness(self.policy, model, stream.lora, stream.speech) if fresh else None

    def close(self) -> None:
        """Close what is open; what is committed stays."""
        if self.witness is not None:
            self.witness.close()
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
        shown = self.stream.memory.examples
        self.preface = Examples(self.memory, self.policy.prompter, shown, self.next_cycle) if shown else None
        self.decisions = self.examined = 0
        self.curve = []
        self.variants = last_variants(self.committed)
        self.within: dict[str, float] = {}
        self.staged = ""
        self.sample.begin(task)
        self.progress.cycle(self.next_cycle, self.planned, task)
        return self.next_cycle

    def check_worlds(self) -> None:
        """Make sure that every world repeats its starts: groups and exams rest on it."""
        for task in worlds_of(self.stream):
            check_repeatable(self.pool, task, (1, 2))

    def last_scores(self, cycle: int) -> Scores:
        """The champion's results, as far as they are known, on what lives in this cycle."""
        assert self.matrix is not None
        row = {cell.task: cell for cell in self.matrix.rows[-1] if cell is not None}
        return {name: row[name] for name in self.live(cycle) if name in row}

    def champion_exam(self) -> Scores:
        """The champion's results on what lives in this cycle: the last row, and an exam of a world that begins now.

        With examples all is examined anew: other ones are shown than in the last cycle.
        """
        known = self.last_scores(self.next_cycle) if self.preface is None else {}
        new = [name for name in self.live(self.next_cycle) if name not in known]
        return {**known, **(self.examine("champion", new)[0] if new else {})}

    def examine(self, adapter: str, tasks: Sequence[str], part: range | None = None) -> tuple[Scores, list[Episode]]:
        """Let an adapter sit the exam of `tasks`, or a part of it.

        Returns:
            Results by regime, and what was played.
        """
        part = range(self.stream.exam.episodes) if part is None else part
        with self.phase("exam", f"{adapter}, {len(tasks)} regimes"), self.policy.using(adapter):
            scores, episodes = sit(
                self.policy, tasks, part, self.pool, self.stream.width, self.progress.tick, self.preface
            )
        self.decisions += sum(len(e.steps) for e in episodes)
        self.examined += len(episodes)
        return scores, episodes

    def skills(self, cycle: int, task: str) -> list[str]:
        """Live regimes beside `task` that are known to the pilot or were learned."""
        assert self.matrix is not None
        return [name for name in self.live(cycle) if name in self.matrix.skills and name != task]

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
                self.staged = f"adapters/cycle-{self.next_cycle:03d}"
                beside = {MANIFEST: json.dumps(manifest(self, task, algorithm), indent=1)}
                self.policy.save(self.folder / self.staged, beside)

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
            cycle, plan.task, update.algorithm, reason, means(before), means(after), update,
            verdict.accepted, verdict.sentence, self.decisions, self.clock.seconds(), multiplier,
            self.memory.draws.counts(), verdict.share, self.exam_facts(cycle), means(self.variants), self.within,
            gain=gain_on(plan.task, before, after),
        )  # fmt: skip
        self._commit(cycle, report, self.staged if verdict.accepted else self.committed[-1].champion)
        return report

    def commit_start(self, scores: Scores) -> None:
        """Commit cycle 0: the scores before any training, and what was lived in."""
        self.matrix = ScoreMatrix.start(self.regimes, scores)
        self._commit(0, None, "")
        self.progress.done(f"before any training: {in_words(scores)}")

    def _commit(self, cycle: int, report: CycleReport | None, champion: str) -> None:
        assert self.matrix is not None
        told = cycle_json(report) if report else {"cycle": 0, "seconds": self.clock.seconds()}
        entry = Committed(cycle, told, last_row(self.matrix) | variants_row(self.variants), champion)
        with self.phase("checkpoint"):
            outgoing = tracking_record(
                self.matrix, record.now_ms(), told if report else None, self.curve,
                champion if report and report.accepted else "", reuse=self.policy.reuse(),
            ) | self.also_recorded()  # fmt: skip
            with self.database.transaction():
                self.within_commit(report)
                self.memory.settle(self.rng(cycle, "settle"))
                self.ledger.commit(entry, {**outgoing, "traces": plain(self.sample.taken())})
                self.ledger.rechoose(self.policy.budget.tokens)
        self.committed.append(entry)
        self.memory.save_index()
        if report:
            self.progress.done(f"cycle {cycle} ({report.task}) {report.verdict}")
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
        record.write(self.folder, self.stream, self.matrix, self.committed, stats, self.tracker.ids, self.command)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def exam_facts(self, cycle: int) -> dict[str, object]:
        """Which exam the regimes of a cycle have, and how many of its episodes were played, variants included."""
        return exam_facts(self.live(cycle), self.stream.exam.episodes) | {"played": self.examined}

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
