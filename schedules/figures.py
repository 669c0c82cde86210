"""Pictures of a run: the score matrix, who hurts whom, the learning curve.

Each function gives a `Figure` that belongs to nobody (no pyplot, so nothing to close, and safe in any thread); `png`
writes it. Scores come as nested lists, None (or NaN) where a regime is not there; row 0 is before any cycle.
"""

import os
from collections.abc import Sequence
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
WRITTEN_ROWS = 40  # above it, numbers in the cells could not be read


def png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, at once: a page that is looking never sees half of one."""
    picture = BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    aside = path.with_name(path.name + ".tmp")
    aside.write_bytes(picture.getvalue())
    os.replace(aside, path)


def score_matrix(tasks: Sequence[str], scores: Table, primary: Sequence[str], accepted: Sequence[bool]) -> Figure:
    """Heat map of held-out success: a row a champion, a column a regime, what a cycle trained framed."""
    values = np.array(scores, float)
    labels = ["before any cycle"] + [f"{i}  {task}" for i, task in enumerate(primary, 1)]
    light = 1.6  # the colours end above 1: even a full score stays light enough for its frame
    figure, axes = _grid(values, tasks, labels, "YlGnBu", 0.0, light, "{:.2f}")
    axes.set_title("Held-out success of the champion after each cycle", loc="left", color=INK, fontsize=11, pad=26)
    _marks(axes, tasks, primary, [None, *accepted], first_row=1)
    return figure


def who_hurts_whom(tasks: Sequence[str], scores: Table, primary: Sequence[str], accepted: Sequence[bool]) -> Figure:
    """What each cycle did to each regime: the change of its row against the row before, red where it hurt."""
    values = np.diff(np.array(scores, float), axis=0)
    labels = [f"{i}  {task}" for i, task in enumerate(primary, 1)]
    most = 0.4  # a large gain may saturate, so that a small loss shows
    figure, axes = _grid(values, tasks, labels, "RdBu", -most, most, "{:+.2f}")
    axes.set_title(
        "What each cycle did to each task (success gained or lost)", loc="left", color=INK, fontsize=11, pad=26
    )
    _marks(axes, tasks, primary, [*accepted], first_row=0)
    return figure


def learning_curve(
    tasks: Sequence[str], scores: Table, half_widths: Table, primary: Sequence[str], accepted: Sequence[bool]
) -> Figure:
    """Success of every task over the cycles with its 95 % band; a disc where a cycle trained it, hollow if refused."""
    values, widths = np.array(scores, float), np.array(half_widths, float)
    cycles = np.arange(len(values))
    figure = Figure(
        figsize=(min(14.0, 5.5 + 0.35 * len(values)), 4.2), dpi=110, layout="constrained", facecolor="white"
    )
    axes = figure.add_subplot()
    for j, task in enumerate(tasks):
        colour = LINES[j % len(LINES)]
        axes.fill_between(
            cycles, values[:, j] - widths[:, j], values[:, j] + widths[:, j], color=colour, alpha=0.10, lw=0
        )
        axes.plot(cycles, values[:, j], color=colour, lw=2, label=task, ls="-" if j < len(LINES) else "--")
        for kept, face in ((True, colour), (False, "white")):
            at = [i for i, (t, a) in enumerate(zip(primary, accepted, strict=True), 1) if t == task and a == kept]
            axes.plot(at, values[at, j], "o", color=colour, markerfacecolor=face, markersize=8, markeredgewidth=2)
    axes.set(xlabel="cycle", ylim=(-0.02, 1.04), xlim=(-0.3, len(values) - 0.7))
    axes.set_xticks(cycles[:: max(1, len(cycles) // 16)])
    axes.set_title("Held-out success (disc: trained and promoted, ring: refused)", loc="left", color=INK, fontsize=11)
    axes.grid(axis="y", color=EMPTY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, length=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor=INK)
    return figure


def _grid(
    values: np.ndarray, tasks: Sequence[str], labels: Sequence[str], colours: str, low: float, high: float, number: str
) -> tuple[Figure, Axes]:
    """Coloured cells with their numbers; task names above, `labels` at the left."""
    rows, columns = values.shape
    size = (2.6 + max(1.05, 0.085 * max(map(len, tasks))) * columns, 1.3 + min(0.34 * max(rows, 1), 14.0))
    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_facecolor(EMPTY)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(columns), tasks)
    stride = 1 if rows <= WRITTEN_ROWS else rows // WRITTEN_ROWS + 1
    axes.set_yticks(range(0, rows, stride), labels[::stride])
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0, colors=INK)
    axes.spines[:].set_visible(False)
    if rows <= WRITTEN_ROWS:
        axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=2)
        axes.tick_params(which="minor", top=False, bottom=False, left=False)
        _numbers(axes, values, image.cmap, low, high, number)
    return figure, axes


def _numbers(axes: Axes, values: np.ndarray, colours: Colormap, low: float, high: float, number: str) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(j, i, "–", ha="center", va="center", color=FAINT)
            continue
        red, green, blue, _ = colours(float(np.clip((value - low) / (high - low), 0, 1)))
        dark = 0.30 * red + 0.59 * green + 0.11 * blue < 0.55
        axes.text(j, i, number.format(value), ha="center", va="center", color="white" if dark else INK, fontsize=10)


def _marks(
    axes: Axes, tasks: Sequence[str], primary: Sequence[str], verdicts: Sequence[bool | None], first_row: int
) -> None:
    """Colour the row labels by verdict, say it at the right, frame what each cycle trained."""
    if len(verdicts) > WRITTEN_ROWS:
        return
    for row, (label, kept) in enumerate(zip(axes.get_yticklabels(), verdicts, strict=True)):
        if kept is None:
            continue
        colour = PROMOTED if kept else REFUSED
        label.set_color(colour)
        verdict = "promoted" if kept else "refused"
        axes.annotate(verdict, (1.01, row), xycoords=("axes fraction", "data"), va="center", color=colour, fontsize=9)
        task = primary[row - first_row]
        if task in tasks:
            frame = Rectangle((list(tasks).index(task) - 0.47, row - 0.44), 0.94, 0.88)
            frame.set(fill=False, edgecolor=colour, linewidth=2, linestyle="-" if kept else ":")
            axes.add_patch(frame)
