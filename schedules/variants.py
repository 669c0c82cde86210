"""Variants: a regime's world in other colours or words, examined after each promotion and nothing else.

They show whether a skill is more than what was trained. `regimes.NAME.variants` makes the columns `NAME/variant` of a
table of their own: the score matrix, its figures and the gate do not know them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envs.multimodal import WorldSettings
from schedules.checkpoint import Committed
from schedules.comparison import ExamResult
from schedules.config import StreamSettings
from schedules.exam import exam_facts
from schedules.matrix_json import cell_from_json, cell_json

if TYPE_CHECKING:
    from schedules.loop import Loop

Scores = dict[str, ExamResult]


def names_of(stream: StreamSettings, regimes: Iterable[str]) -> list[str]:
    """Names of the variants of these regimes."""
    return [f"{regime}/{variant}" for regime in regimes for variant in stream.regimes[regime].variants]


def worlds_of(stream: StreamSettings) -> dict[str, WorldSettings]:
    """All worlds of a stream by column: its regimes, then their variants."""
    regimes = stream.regimes.items()
    variants = {f"{name}/{variant}": regime.variant(variant) for name, regime in regimes for variant in regime.variants}
    return {**{name: regime.world for name, regime in regimes}, **variants}


def sit_variants(loop: "Loop", promoted: bool) -> None:
    """Examine the champion after the verdict: a new one on all live variants, an old one on what it has not sat yet."""
    live = names_of(loop.stream, loop.live(loop.next_cycle))
    known = {name: result for name, result in loop.variants.items() if name in live}
    wanted = live if promoted else [name for name in live if name not in known]
    new = promoted and loop.next_cycle > 0  # it is still the candidate: adopted only once all of this held
    loop.variants = known | (loop.examine("candidate" if new else "champion", wanted)[0] if wanted else {})


def variants_row(variants: Scores) -> dict[str, Any]:
    """What the ledger keeps of them."""
    return {"variants": {name: cell_json(result) for name, result in variants.items()}}


def last_variants(committed: Sequence[Committed]) -> Scores:
    """The champion's results as the last committed cycle left them."""
    cells = committed[-1].outcomes.get("variants", {}) if committed else {}
    return {name: cell_from_json(name, cell) for name, cell in cells.items()}


def variants_json(stream: StreamSettings, committed: Sequence[Committed]) -> dict[str, Any]:
    """All rows as the report tells them: null where a variant was not examined."""
    names = names_of(stream, stream.regimes)
    rows = [last_variants([entry]) for entry in committed]
    cells = [[row.get(name) for name in names] for row in rows]
    scores = [[cell and cell.mean for cell in row] for row in cells]
    return {"names": names, "scores": scores, "scores_ci": [[c and c.half_width for c in row] for row in cells]}


def run_facts(stream: StreamSettings, lived: Sequence[Committed] | None = None) -> dict[str, Any]:
    """The exam of a whole run, and the regimes that no cycle trains: their columns tell of generalisation alone.

    Args:
        lived: cycles of a life so far, which follows no plan; None where the planned cycles lead.
    """
    planned = {plan.task for plan in stream.cycles}
    trained = planned if lived is None else {entry.report["task"] for entry in lived[1:]}
    never = [name for name in stream.regimes if name not in trained]
    columns = [*stream.regimes, *names_of(stream, stream.regimes)]
    return exam_facts(columns, stream.exam.episodes) | {"never_trained": never}


def means(scores: Mapping[str, ExamResult]) -> dict[str, float | None]:
    """Success by column, 0..1."""
    return {name: result.mean for name, result in scores.items()}
