"""The picture of drift: per task success and novelty over a life, with alarms, promotions, rollbacks and known drift.

Pure: plain data in, a `Figure` out; `schedules.figures.png` writes it. Both curves are means of the last episodes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from schedules.figures import EMPTY, FAINT, INK, LINES, PROMOTED, REFUSED
from schedules.lived import Lived
from schedules.watch import LEAST_NOVELTY, Alarm, Kind

SUCCESS, NOVELTY = LINES[0], LINES[4]
MARKERS: dict[Kind, tuple[str, float]] = {"reward": ("v", 1.08), "novelty": ("D", 1.20), "mix": ("s", 1.32)}
"""Shape and height of an alarm: apart, since one drift often raises several."""
DRAWN = 2000
"""Most points of a curve: more could not be told apart."""


def drift_timeline(
    lived: Sequence[Lived],
    alarms: Sequence[Alarm],
    promotions: Sequence[int] = (),
    drifts: Mapping[str, Sequence[int]] | None = None,
    rollbacks: Sequence[int] = (),
    window: int = 50,
) -> Figure:
    """A panel for each task, in the order in which they were first lived in.

    Args:
        lived: in any order; the x axis is the number in the whole life.
        alarms: marked on the panel of their task, by kind.
        promotions: numbers of the newest episodes lived before a new champion; on every panel.
        drifts: known drift points by task: numbers of the first episodes in the changed world.
        rollbacks: as promotions, of a champion of before that was there again.
        window: episodes of a task that a point of its curves is the mean of.
    """
    lived = sorted(lived, key=lambda one: one.number)
    tasks = list(dict.fromkeys(one.task for one in lived))
    rows = max(1, len(tasks))
    height = 1.5 + 1.9 * rows  # inches; margins are fixed ones, since a layout engine has no room to give in one row
    figure = Figure(figsize=(11, height), dpi=110, facecolor="white")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.06, right=0.91, top=1 - 0.65 / height, bottom=0.85 / height, hspace=0.28)
    for task, axes in zip(tasks, panels, strict=False):
        _panel(axes, task, [one for one in lived if one.task == task], window)
        _uprights(axes, promotions, rollbacks, (drifts or {}).get(task, ()))
        _alarms(axes, [alarm for alarm in alarms if alarm.task == task])
    panels[-1].set_xlabel("episodes lived", color=INK)
    panels[-1].set_xlim(0.5, max((one.number for one in lived), default=1) + 0.5)
    figure.suptitle(
        f"What drifted (means of {window} episodes)", x=0.06, y=1 - 0.1 / height, ha="left", color=INK, fontsize=11
    )
    figure.legend(
        handles=_legend(), loc="lower left", bbox_to_anchor=(0.05, 0), ncols=8, frameon=False, labelcolor=INK,
        fontsize=9, handlelength=1.4, columnspacing=1.4,
    )  # fmt: skip
    return figure


def running(values: Sequence[float], window: int) -> np.ndarray:
    """Mean of each value and those before it, `window` at most: float64 `[n]`."""
    sums = np.concatenate([[0.0], np.cumsum(np.array(values, np.float64))])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _panel(axes: Axes, task: str, lived: Sequence[Lived], window: int) -> None:
    _curve(axes, [one.number for one in lived], running([one.reward for one in lived], window), SUCCESS)
    axes.set_title(task, loc="left", color=INK, fontsize=10)
    axes.set_ylabel("success", color=SUCCESS)
    axes.set_ylim(-0.04, 1.40)
    axes.set_yticks([0, 0.5, 1])
    axes.grid(axis="y", color=EMPTY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, length=0)
    compared = [(one.number, one.novelty) for one in lived if one.novelty is not None]
    if compared:
        beside = axes.twinx()
        _curve(beside, [number for number, _ in compared], running([value for _, value in compared], window), NOVELTY)
        top = max(LEAST_NOVELTY, float(np.max(np.asarray(beside.lines[0].get_ydata()))))
        beside.set_ylim(-0.04 * top, 1.40 * top)
        beside.set_ylabel("novelty", color=NOVELTY)
        beside.spines[["top", "right", "left"]].set_visible(False)
        beside.tick_params(colors=NOVELTY, length=0)


def _curve(axes: Axes, numbers: Sequence[int], means: np.ndarray, colour: str) -> None:
    step = len(numbers) // DRAWN + 1
    axes.plot(numbers[::step], means[::step], color=colour, lw=1.6)


def _uprights(axes: Axes, promotions: Sequence[int], rollbacks: Sequence[int], drifts: Sequence[int]) -> None:
    for number in drifts:
        axes.axvline(number, color=INK, lw=1.4, ls=":")
    for number in promotions:
        axes.axvline(number, color=PROMOTED, lw=1.4, alpha=0.7)
    for number in rollbacks:
        axes.axvline(number, color=FAINT, lw=1.4, ls="--")


def _alarms(axes: Axes, alarms: Sequence[Alarm]) -> None:
    for kind, (marker, height) in MARKERS.items():
        at = [alarm.episode for alarm in alarms if alarm.kind == kind]
        axes.plot(at, [height] * len(at), marker, color=REFUSED, markersize=6, clip_on=False, zorder=5)


def _legend() -> list[Line2D]:
    lines = [
        Line2D([], [], color=SUCCESS, lw=2, label="success"),
        Line2D([], [], color=NOVELTY, lw=2, label="novelty"),
        Line2D([], [], color=INK, lw=1.4, ls=":", label="known drift"),
        Line2D([], [], color=PROMOTED, lw=1.4, label="promotion"),
        Line2D([], [], color=FAINT, lw=1.4, ls="--", label="rollback"),
    ]
    names: dict[Kind, str] = {"reward": "success fell", "novelty": "something new", "mix": "another mix"}
    alarms = [
        Line2D([], [], color=REFUSED, marker=MARKERS[kind][0], ls="", label=f"alarm: {name}")
        for kind, name in names.items()
    ]
    return [*lines, *alarms]
