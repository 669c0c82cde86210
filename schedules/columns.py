"""The columns of a run's score matrix, read off its file: planned cycles begin its regimes, or what was lived does."""

from collections.abc import Mapping

from schedules.checkpoint import Ledger
from schedules.config import StreamSettings
from schedules.diary import Diary
from schedules.metrics import Regime
from schedules.timeline import rollbacks, timeline

NEVER = 2**31 - 1
"""The first row of a regime that has not begun."""


def columns_of(ledger: Ledger, stream: StreamSettings) -> tuple[Regime, ...]:
    """The columns of the run whose file is open."""
    if ledger.fact("command") == "serve":
        return lived_columns(stream, Diary(ledger.database).begun())
    return timeline(stream, rollbacks(ledger.cycles()))


def lived_columns(stream: StreamSettings, begun: Mapping[str, int]) -> tuple[Regime, ...]:
    """The columns of a life.

    Args:
        begun: rows with which regimes that replace another began: that which follows their first lived episode.
    """
    regimes = stream.regimes
    first = {name: begun.get(name, NEVER) if regime.replaces else 0 for name, regime in regimes.items()}
    gone = {regime.replaces: begun[name] for name, regime in regimes.items() if name in begun}
    return tuple(Regime(name, r.known, first[name], gone.get(name)) for name, r in regimes.items())
