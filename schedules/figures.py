"""Pictures of a run: the score matrix, who hurts whom, turnover, the learning curve.

Each function gives a `Figure` that belongs to nobody (no pyplot, so nothing to close, and safe in any thread); `png`
writes it. Scores come as nested lists, None (or NaN) where a regime is not there; row 0 is before any cycle. A verdict
of None is a rollback. However long a run is, and however many its tasks, a figure stays one page that can be read.
"""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

Table = Sequence[Sequence[float | None]] | np.ndarray

INK, FAINT, EMPTY = "#22313f", "#8795a1", "#eceff1"
PROMOTED, REFUSED = "#1b7f5c", "#b3541e"
LINES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f7f7f",
    "#b8a000",
)  # told apart by all eyes
WRITTEN_ROWS, WRITTEN_CELLS = 40, 400  # above them, numbers in the cells could not be read
UPRIGHT = 12  # columns whose names fit above them; more are narrower, with slanted names
SHOWN = len(LINES)
"""Tasks that have a line of their own, here and in the timeline: the first ones of the stream."""
CROWDED = 120  # cycles, above which a disc for each would hide the line
Verdicts = Sequence[bool | None]
VERDICTS = {True: ("promoted", PROMOTED), False: ("refused", REFUSED), None: ("rolled back", FAINT)}


def png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, at once: a page that is looking never sees half of one."""
    picture = BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    aside = path.with_name(path.name + ".tmp")
    aside.write_bytes(picture.getvalue())
    os.replace(aside, path)


def score_matrix(tasks: Sequence[str], scores: Table, primary: Sequence[str], accepted: Verdicts) -> Figure:
    """Heat map of held-out success: a row a champion, a column a regime, what a cycle trained framed."""
    values = np.array(scores, float)
    labels = ["before any cycle", *_labels(primary)]
    light = 1.6  # the colours end above 1: even a full score stays light enough for its frame
    figure, axes = _grid(values, tasks, labels, "YlGnBu", 0.0, light, lambda i, j: f"{values[i, j]:.2f}")
    axes.set_title("Held-out success of the champion after each cycle", loc="left", color=INK, fontsize=11, pad=26)
    _marks(axes, tasks, primary, [None, *accepted], first_row=1)
    return figure


def who_hurts_whom(tasks: Sequence[str], scores: Table, primary: Sequence[str], accepted: Verdicts) -> Figure:
    """What each cycle did to each regime: the change of its row against the row before, red where it hurt."""
    values = np.diff(np.array(scores, float), axis=0)
    most = 0.4  # a large gain may saturate, so that a small loss shows
    figure, axes = _grid(values, tasks, _labels(primary), "RdBu", -most, most, lambda i, j: f"{values[i, j]:+.2f}")
    axes.set_title(
        "What each cycle did to each task (success gained or lost)", loc="left", color=INK, fontsize=11, pad=26
    )
    _marks(axes, tasks, primary, [*accepted], first_row=0)
    return figure


def turnover(tasks: Sequence[str], turned: Table, primary: Sequence[str], accepted: Verdicts) -> Figure:
    """Exam seeds that each cycle lost (right -> wrong, the colour) and won (wrong -> right): an average hides them.

    Args:
        turned: `[cycles, regimes, 2]`, as `schedules.metrics.turned` gives it.
    """
    values = np.array(turned, float)
    lost, won = values[:, :, 0], values[:, :, 1]
    most = max(8.0, float(np.nanmax(lost, initial=0.0)))  # one lost seed is luck, and should not look like a disaster
    figure, axes = _grid(
        lost, tasks, _labels(primary), "Oranges", 0.0, 1.3 * most, lambda i, j: f"-{lost[i, j]:.0f}  +{won[i, j]:.0f}"
    )
    axes.set_title(
        "Exam seeds each cycle lost (-, coloured) and won (+), task by task", loc="left", color=INK, fontsize=11, pad=26
    )
    _marks(axes, tasks, primary, [*accepted], first_row=0)
    return figure


def learning_curve(
    tasks: Sequence[str], scores: Table, half_widths: Table, primary: Sequence[str], accepted: Verdicts
) -> Figure:
    """Success of each task over the cycles with its 95 % band; a disc where a cycle trained it, hollow if refused.

    Of more than `SHOWN` tasks the first have a line; a dashed upright is a rollback.
    """
    values, widths = np.array(scores, float), np.array(half_widths, float)
    cycles = np.arange(len(values))
    crowded = len(cycles) > CROWDED
    figure = Figure(
        figsize=(min(14.0, 5.5 + 0.35 * len(values)), 4.2), dpi=110, layout="constrained", facecolor="white"
    )
    axes = figure.add_subplot()
    for i in (i for i, kept in enumerate(accepted, 1) if kept is None):
        axes.axvline(i, color=FAINT, lw=1, ls="--")
    for j, (task, colour) in enumerate(zip(tasks, LINES, strict=False)):
        axes.fill_between(
            cycles, values[:, j] - widths[:, j], values[:, j] + widths[:, j], color=colour, alpha=0.10, lw=0
        )
        axes.plot(cycles, values[:, j], color=colour, lw=1 if crowded else 2, label=task)
        for kept, face in ((True, colour), (False, "white")):
            at = [i for i, (t, a) in enumerate(zip(primary, accepted, strict=True), 1) if t == task and a == kept]
            size, edge = (3, 0.7) if crowded else (8, 2)
            axes.plot(at, values[at, j], "o", color=colour, markerfacecolor=face, markersize=size, markeredgewidth=edge)
    axes.set(xlabel="cycle", ylim=(-0.02, 1.04), xlim=(-0.3, len(values) - 0.7))
    axes.set_xticks(cycles[:: max(1, len(cycles) // 16)])
    axes.set_title("Held-out success (disc: trained and promoted, ring: refused)", loc="left", color=INK, fontsize=11)
    if len(tasks) > SHOWN:
        told = f"the first {SHOWN} of {len(tasks)} tasks; the others: score matrix"
        axes.annotate(told, (1.0, 1.02), xycoords="axes fraction", ha="right", color=FAINT, fontsize=9)
    axes.grid(axis="y", color=EMPTY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, length=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor=INK)
    return figure


def _grid(
    values: np.ndarray,
    tasks: Sequence[str],
    labels: Sequence[str],
    colours: str,
    low: float,
    high: float,
    written: Callable[[int, int], str],
) -> tuple[Figure, Axes]:
    """Coloured cells with what is written in them; task names above, `labels` at the left."""
    rows, columns = values.shape
    upright = columns <= UPRIGHT
    width = max(1.05, 0.085 * max(map(len, tasks))) if upright else 0.6
    size = (2.6 + width * columns, (1.3 if upright else 2.3) + min(0.34 * max(rows, 1), 14.0))
    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_facecolor(EMPTY)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, aspect="auto")
    image.set_interpolation("nearest")  # columns are tasks: they don't flow into each other
    axes.set_xticks(range(columns), tasks, rotation=0 if upright else 50, ha="center" if upright else "left")
    stride = 1 if rows <= WRITTEN_ROWS else rows // WRITTEN_ROWS + 1
    axes.set_yticks(range(0, rows, stride), labels[::stride])
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0, colors=INK)
    axes.spines[:].set_visible(False)
    if rows <= WRITTEN_ROWS:
        axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=2)
        axes.tick_params(which="minor", top=False, bottom=False, left=False)
        if rows * columns <= WRITTEN_CELLS:
            _numbers(axes, values, image.cmap, low, high, written, 10 if upright else 8)
    return figure, axes


def _labels(primary: Sequence[str]) -> list[str]:
    return [f"{i}  {task or 'rollback'}" for i, task in enumerate(primary, 1)]


def _numbers(
    axes: Axes,
    values: np.ndarray,
    colours: Colormap,
    low: float,
    high: float,
    written: Callable[[int, int], str],
    size: float,
) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(j, i, "–", ha="center", va="center", color=FAINT, in_layout=False)
            continue
        red, green, blue, _ = colours(float(np.clip((value - low) / (high - low), 0, 1)))
        dark = 0.30 * red + 0.59 * green + 0.11 * blue < 0.55
        shade = "white" if dark else INK
        axes.text(j, i, written(i, j), ha="center", va="center", color=shade, fontsize=size, in_layout=False)


def _marks(axes: Axes, tasks: Sequence[str], primary: Sequence[str], verdicts: Verdicts, first_row: int) -> None:
    """Colour the row labels by verdict, say it at the right, frame what each cycle trained."""
    if len(verdicts) > WRITTEN_ROWS:
        return
    for row, (label, kept) in enumerate(zip(axes.get_yticklabels(), verdicts, strict=True)):
        if row < first_row:
            continue
        verdict, colour = VERDICTS[kept]
        label.set_color(colour)
        axes.annotate(verdict, (1.01, row), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=9)
        task = primary[row - first_row]
        if task in tasks:
            frame = Rectangle((list(tasks).index(task) - 0.47, row - 0.44), 0.94, 0.88)
            frame.set(fill=False, edgecolor=colour, linewidth=2, linestyle="-" if kept else ":")
            axes.add_patch(frame)
