"""What leads a run from cycle to cycle: its stream's plan here; in a life, what is lived (`schedules.served`)."""

from typing import Any

from schedules.checkpoint import Ledger
from schedules.config import StreamSettings
from schedules.metrics import Regime
from schedules.report import CycleReport
from schedules.timeline import rollbacks, timeline


class Led:
    """Led by the stream's planned cycles; nothing happens beside them.

    Attributes:
        command: which one leads; a run goes on by the one that began it.
        goes_on: what a person says to it after a pause.
    """

    stream: StreamSettings
    ledger: Ledger
    command = "run"
    goes_on = "holdtrue run --resume"

    @property
    def planned(self) -> int:
        """How many cycles there will be; 0 where nobody knows."""
        return len(self.stream.cycles)

    def columns(self) -> tuple[Regime, ...]:
        """The columns of the score matrix, once the run's file is open."""
        return timeline(self.stream, rollbacks(self.ledger.cycles()))

    def turn(self) -> None:
        """After each optimizer step others may act."""

    def also_recorded(self) -> dict[str, Any]:
        """What MLflow is told of a cycle beside the cycle itself; JSON-able."""
        return {}

    def within_commit(self, report: CycleReport | None) -> None:
        """Inside the transaction that commits a cycle; None for the examination before any."""
