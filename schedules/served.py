"""A run that is led by a life: the champion goes on living while a candidate learns."""

from typing import Any

from schedules.columns import lived_columns
from schedules.diary import Diary
from schedules.life import Life
from schedules.loop import Loop
from schedules.metrics import Regime
from schedules.queue import Due, done, migrate
from schedules.report import CycleReport
from schedules.story import Story


class ServedLoop(Loop):
    """Implements `schedules.led.Led` for a life.

    Attributes:
        due: the cycle that is being run; None outside of one.
        life: what goes on meanwhile; set once it has begun.
        committing: a cycle's commit has begun: what little is left of it is better brought to its end.
    """

    command = "serve"
    goes_on = "holdtrue resume"
    due: Due | None = None
    life: Life | None = None
    committing = False

    @property
    def planned(self) -> int:
        """See `Led`."""
        return 0

    def columns(self) -> tuple[Regime, ...]:
        """See `Led`. A regime that replaces another begins with the cycle that follows its first phase of life."""
        self.diary = Diary(self.database)
        migrate(self.database)
        return lived_columns(self.stream, self.diary.begun())

    def begin_regimes(self) -> None:
        """Let those begin of which an episode was lived, between two cycles."""
        assert self.life is not None
        begun = self.diary.begun()
        new = [n for n in self.life.come.lived if self.stream.regimes[n].replaces is not None and n not in begun]
        if new:
            self.diary.begin(new, self.next_cycle)
            self.regimes = self.columns()
            if self.matrix is not None:
                self.matrix = self.matrix.with_regimes(self.regimes)

    def turn(self) -> None:
        """See `Led`: a few ticks of the champion's life."""
        if self.life is not None:
            for _ in range(self.stream.service.ticks):
                self.life.tick()

    def also_recorded(self) -> dict[str, Any]:
        """See `Led`: `drift`, of what was lived since the last cycle."""
        last = self.diary.fact("told") or {"lived": {}, "alarm": 0}
        now = self.diary.mark()
        lived = sum(now["lived"].values()) - sum(last["lived"].values())
        return {"drift": {"statistic": self.diary.fallen(), "alarms": now["alarm"] - last["alarm"], "lived": lived}}

    def within_commit(self, report: CycleReport | None) -> None:
        """See `Led`."""
        self.committing = True
        self.diary.note("told", self.diary.mark())
        if report is not None and self.due is not None:
            done(self.database, self.due.id, report.cycle)
        if report is not None and report.accepted:
            self.diary.promoted()
            Story(self.database).promoted(self.diary.come())
