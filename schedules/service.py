"""The service: a champion lives, triggers make cycles due, and one at a time is run. `Service.serve` comes first.

Two threads. The main one owns the model and the run's file: it lives, and runs what is due. APScheduler's only looks
at the clock, and puts what is due into the queue through a connection of its own, so that a time that comes while a
cycle learns is noted when it comes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from envs.component import UserError
from schedules.config import CyclePlan
from schedules.control import Command, Control, behind
from schedules.cycle import begin, run_cycle
from schedules.folder import DATABASE
from schedules.life import Clock, Life
from schedules.metrics import ExamResult
from schedules.patience import note_pause, untold_pause
from schedules.queue import PERSON, Due, SideDoor, Triggers, first_due, put
from schedules.served import ServedLoop
from schedules.serving import by_the_clock, slot
from schedules.stopping import Abandoned, Interruptible

LOOK_SECONDS = 1
IDLE_SECONDS = 0.2
"""Between two looks while it is paused."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


class Service:
    """Serves one run in its folder.

    Attributes:
        stopping: why it is to stop; "" as long as it is not.
    """

    def __init__(self, loop: ServedLoop, control: Control, clock: Clock = utc_now) -> None:
        """The loop's display becomes interruptible."""
        self.loop, self.control, self.clock = loop, control, clock
        self.stopping = ""
        self._doing = "beginning"
        self._said_behind = False
        self._display = loop.progress
        self._looked = datetime.min.replace(tzinfo=UTC)
        control.forget_stops()
        loop.progress = Interruptible(loop.progress, self.listen)
        self._triggers = Triggers(loop.database, loop.stream.service.triggers, clock())

    def serve(self) -> None:
        """Live, and run what is due, until it is told to stop. What was running then is given up, and stays due."""
        try:
            self._begin()
            while not self.stopping:
                self.listen()
                if self.control.paused:
                    self._doing = "paused"
                    time.sleep(IDLE_SECONDS)
                    continue
                self._step()
        except Abandoned:
            self.loop.policy.discard()

    def stop(self, why: str) -> None:
        """Stop as soon as nothing is lost by it. Harmless in a signal's handler."""
        self.stopping = why

    def listen(self) -> None:
        """Hear what people say, and give a sign of life.

        Raises:
            Abandoned: it is to stop, and what is running was not committed yet.
        """
        now = self.clock()
        self.control.beat(now, self._doing)
        for command in self.control.heard():
            self._obey(command)
        late = behind(self.control.last_beat())
        if late and not self._said_behind:
            self.loop.progress.done(
                f"The clock went back by {late:.0f} s: what is due by the clock waits until it is there again."
            )
        self._said_behind = late > 0
        if self.stopping and not self.loop.committing:
            raise Abandoned

    def _step(self) -> None:
        """Run what is due, or else live for a tick."""
        due = first_due(self.loop.database)
        if due is not None:
            self.loop.begin_regimes()
            self._run(due)
        lived = self._live() if due is None else True
        now = self.clock()
        if lived or abs((now - self._looked).total_seconds()) >= LOOK_SECONDS:
            self._looked = now
            self._triggers.look(now)

    # -- parts of the above -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.loop.check_worlds()
        if self.loop.next_cycle == 0:
            self._doing = "the examination before any cycle"
            begin(self.loop)
            self.loop.committing = False
        elif not self.stopping:
            self.loop.tell()  # it may have been stopped after its last commit
        self._pause_if_refused()
        self.life = self.loop.life = Life(self.loop, self.loop.diary, self.clock)

    def _live(self) -> bool:
        """A tick; whether an episode ended."""
        number, phase = self.life.phase()
        doing = f"living in {', '.join(phase.regimes)}, phase {number + 1}"
        if doing != self._doing:
            self._doing = doing
            self._display.phase("life", doing)
        self.life.make_room()  # before the tick: so what was committed decides when, also after a kill
        episodes = self.life.tick()
        if episodes:
            self._display.tick(self.life.decisions, self.life.come.total)
        return bool(episodes)

    def _run(self, due: Due) -> None:
        loop = self.loop
        task = self._there(due.task)
        self._doing = f"cycle {loop.next_cycle}, training {task}"
        loop.due = due
        report = run_cycle(loop, CyclePlan(task=task, update=dict(due.update)), due.reason)
        loop.due, loop.committing = None, False
        if report.accepted:
            self.life.promoted()
        self._pause_if_refused()

    def _pause_if_refused(self) -> None:
        """Read off the commits, so that a kill between a commit and this loses no pause; noted once it is said."""
        if refused := untold_pause(self.loop):
            self.control.pause(refused)
            note_pause(self.loop)
            self._display.done(refused)

    def _there(self, task: str) -> str:
        """The regime that is there now where `task` was; where that was nobody's name, the one that goes worst."""
        live = self.loop.live(self.loop.next_cycle)
        if not task:
            return self._worst(live)
        replaces = self.life.replaces
        return next((name for name in live if slot(name, replaces) == slot(task, replaces)), self._worst(live))

    def _worst(self, live: list[str]) -> str:
        """Of what is lived in now, the regime with the champion's lowest exam; one that sat none yet comes first."""
        _, phase = self.life.phase()
        lived_in = [name for name in live if name in phase.regimes] or live
        scores: dict[str, ExamResult] = self.loop.last_scores(self.loop.next_cycle)
        return min(lived_in, key=lambda name: scores[name].mean if name in scores else 0.0)

    def _obey(self, command: Command) -> None:
        if command.what == "stop":
            self.stop("holdtrue stop")
        elif command.what == "cycle":
            reason = f"asked for by a person at {command.made_at[:19].replace('T', ' ')} UTC"
            asked = datetime.fromisoformat(command.made_at)  # several may be heard at one moment
            put(self.loop.database, PERSON, command.about, self._update_for(command.about), reason, asked)

    def _update_for(self, task: str) -> dict[str, object]:
        """The update of the first trigger, or planned cycle, of this task; else the first one."""
        service, planned = self.loop.stream.service, self.loop.stream.cycles
        plans = [(plan.task, plan.update) for plan in service.triggers]
        plans += [(plan.task, plan.update) for plan in planned]
        return next((update for of, update in plans if of == task), plans[0][1])


@contextmanager
def watching_the_clock(loop: ServedLoop, clock: Clock = utc_now) -> Iterator[BackgroundScheduler]:
    """For the length of a block, a thread puts what is due by the clock alone into the queue.

    What is lived decides the rest: the thread that lives looks at it, at moments that no clock chooses.
    """
    door = SideDoor(loop.folder / DATABASE)
    triggers = Triggers(door, [plan for plan in loop.stream.service.triggers if by_the_clock(plan.when)], clock())
    defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults=defaults)
    scheduler.add_job(lambda: triggers.look(clock()), "interval", seconds=LOOK_SECONDS)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.shutdown(wait=True)
        door.close()


def require_task(task: str, regimes: list[str]) -> None:
    """Raises UserError where a person names a regime that is none."""
    if task and task not in regimes:
        raise UserError(f"--task {task}: there is no such regime. There are: {', '.join(regimes)}.")
