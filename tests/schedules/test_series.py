"""The series of a record: few on the timeline however many tasks, and every one explained on docs/judging/mlflow.md."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ledgers import Made, exam

from agent.report import UpdateReport
from schedules import figures
from schedules.checkpoint import LIBRARIES
from schedules.clock import PHASES
from schedules.lineage import tags, told
from schedules.metrics import Regime, ScoreMatrix
from schedules.report import CycleReport, cycle_json, history, tracking_record
from schedules.series import child_series, timeline_note, timeline_series
from schedules.tracking import drawn_after

PAGE = (Path(__file__).parents[2] / "docs/judging/mlflow.md").read_text(encoding="utf-8")
TOLD = re.findall(r"`([\w/.]+)`", PAGE)
STANDS_FOR = {"TASK": "goto|new", "PHASE": "|".join({*PHASES} - {"tracking"}), "NAME": r"\w+", "STRATEGY": r"\w+"}


def record(tasks: int = 2, back: bool = False) -> dict[str, Any]:
    """Of a cycle with everything that a record can have."""
    names = ["goto", "new", *(f"more {i}" for i in range(tasks - 2))]
    start = ScoreMatrix.start([Regime(name, known=True) for name in names], exam(**dict.fromkeys(names, 15)))
    matrix = start.extended("new", True, exam(**dict.fromkeys(names, 16)))
    update = UpdateReport("grpo", 3, 512, 256, 0.02, 0.004, metrics={"entropy": 0.5})
    scores = dict.fromkeys(names, 0.5)
    report = CycleReport(
        1, "new", "grpo", "planned", scores, scores, update, True, "promoted", 640, dict.fromkeys(PHASES, 1.0),
        recalled={"age": 3}, back_to=0 if back else None,
    )  # fmt: skip
    made = tracking_record(matrix, 0, cycle_json(report), [{"loss": 0.1}], reuse={"pictures": 0.5, "decisions": 0.2})
    drift = {"statistic": {"goto": 0.1, "new": 0.3}, "alarms": 2}
    return json.loads(json.dumps({**made, **history(matrix), "drift": drift}))


def explained(series: str) -> bool:
    """Whether the page names it, with words such as TASK standing for names."""
    patterns = [re.sub("|".join(STANDS_FOR), lambda word: f"({STANDS_FOR[word[0]]})", name) for name in TOLD]
    return any(re.fullmatch(pattern, series) for pattern in patterns)


@pytest.mark.parametrize("series", sorted({*timeline_series(record()), *child_series(record()), "step/loss"}))
def test_every_series_stands_on_the_page(series: str) -> None:
    assert explained(series)


def test_a_series_that_nobody_explained_would_be_found() -> None:
    assert not explained("overall/luck")
    assert not explained("success/else")


def test_every_word_of_a_series_stands_on_the_page() -> None:
    """Phases, and what an update says of itself, are named one by one."""
    named = {name.split("/")[1] for name in child_series(record()) if name.startswith(("update/", "reuse/"))}
    for word in {*PHASES, *named} - {"entropy"}:
        assert f"`{word}`" in PAGE, word


def test_every_figure_and_tag_stands_on_the_page() -> None:
    drawn = re.findall(r"`(\w+\.png)`", timeline_note("made", {**record(), "story": True}))
    assert len(drawn) == 5
    assert "drift_timeline" not in timeline_note("made", record()), "a planned run has none"
    some = told([("a", "b")])
    found = {
        "version": "v", "parent": {"adapter": "", "version": "p"}, "base": "b", "episodes": some, "drawn": some,
        "pairs": some, "seed": 0, "settings": "s", "libraries": dict.fromkeys(LIBRARIES, "1"), "code": "c",
    }  # fmt: skip
    for name in [*drawn, *(tag for tag in tags(found) if tag != "holdtrue.adapter")]:
        assert f"`{name}`" in PAGE, name


def test_the_timeline_stays_small_with_thirty_tasks_and_says_so() -> None:
    """5 overall, 2 of drift, 6 phases; 2 tasks make 15, and 8 of 30 make 21."""
    assert len(timeline_series(record())) == 15
    many = record(tasks=30)
    assert len(timeline_series(many)) == 13 + figures.SHOWN == 21
    assert "Tasks beyond the first 8 of 30: in the child runs." in timeline_note("made", many)
    assert "beyond" not in timeline_note("made", record(tasks=8))
    assert len([name for name in child_series(many) if name.startswith("after/")]) == 30


def test_values() -> None:
    """15 of 20 right before, 16 after: one seed won, none lost; the larger of the two statistics."""
    series, child = timeline_series(record()), child_series(record())
    assert series["success/new"] == 0.8
    assert (series["drift/statistic"], series["drift/alarms"]) == (0.3, 2)
    assert (child["drift/goto"], child["lost/new"], child["won/new"]) == (0.1, 0, 1)
    assert series["overall/promoted"] == 1
    assert timeline_series(record(back=True))["overall/promoted"] == -1
    without = {**record(), "drift": None}
    assert not [name for name in timeline_series(without) if name.startswith("drift/")]


def test_figures_are_drawn_ever_less_often() -> None:
    """All of the first 50; of 1000 cycles every 40th: 25 while the length doubles."""
    assert all(drawn_after(cycle) for cycle in range(50))
    assert sum(drawn_after(cycle) for cycle in range(512, 1024)) <= 30
    assert sum(drawn_after(cycle) for cycle in range(1000)) < 200


def test_the_outbox_grows_with_the_run_not_with_its_square(tmp_path: Path) -> None:
    """A record waits without the history of all cycles: the last is as long as the second, in bytes."""
    made = Made(tmp_path)
    for number in range(40):
        made.cycle("new", number % 2 == 0, goto=15, new=12 + number % 5)
    sizes = [size for (size,) in made.database.execute("SELECT length(record) FROM loop_outbox ORDER BY cycle")]
    made.close()
    assert max(sizes) < 1.1 * sizes[1] + 100


def test_what_telling_takes_is_not_told_while_it_is_told() -> None:
    """It would stand there as 0."""
    told = {name.removeprefix("wall_seconds/") for name in timeline_series(record()) if name.startswith("wall_seconds")}
    assert told == {*PHASES} - {"tracking"}
