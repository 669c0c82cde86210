"""The drift timeline is read back: curves by hand, and every mark where it belongs."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from schedules.drift_figure import MARKERS, drift_timeline, running
from schedules.figures import FAINT, INK, PROMOTED, png
from schedules.lived import Lived
from schedules.watch import Alarm

LIVED = [
    Lived(n, f"{n}", task, reward, novelty)
    for n, task, reward, novelty in [
        (1, "goto", 1.0, 0.1), (2, "cards", 0.0, None), (3, "goto", 0.0, 0.3), (4, "cards", 1.0, None),
        (5, "goto", 0.0, None), (6, "goto", 0.0, 0.5),
    ]
]  # fmt: skip
ALARMS = [
    Alarm(5, "goto", "reward", 0.5, "", ()),
    Alarm(6, "goto", "novelty", 5.0, "", ()),
    Alarm(4, "cards", "mix", 1.0, "", ()),
]


def upright(axes: Axes, colour: str) -> list[float]:
    lines = [line for line in axes.lines if line.get_color() == colour and line.get_xdata()[0] == line.get_xdata()[-1]]
    return [float(line.get_xdata()[0]) for line in lines]


def marked(axes: Axes) -> dict[str, list[int]]:
    shapes = {marker: kind for kind, (marker, _) in MARKERS.items()}
    lines = [line for line in axes.lines if line.get_marker() in shapes]
    return {shapes[line.get_marker()]: list(line.get_xdata()) for line in lines if len(line.get_xdata())}


def test_running_mean_by_hand() -> None:
    np.testing.assert_allclose(running([1, 0, 0, 1], 2), [1, 0.5, 0, 0.5])
    np.testing.assert_allclose(running([1, 0, 0, 1], 50), [1, 0.5, 1 / 3, 0.5])
    assert running([], 3).shape == (0,)


def test_curves_and_marks() -> None:
    figure = drift_timeline(LIVED[::-1], ALARMS, [3], {"goto": [3], "elsewhere": [1]}, rollbacks=[5], window=2)
    goto, cards, novelty = figure.axes
    assert [axes.get_title("left") for axes in (goto, cards)] == ["goto", "cards"]
    np.testing.assert_array_equal(goto.lines[0].get_xdata(), [1, 3, 5, 6])
    np.testing.assert_allclose(goto.lines[0].get_ydata(), [1, 0.5, 0, 0])
    np.testing.assert_allclose(cards.lines[0].get_ydata(), [0, 0.5])
    np.testing.assert_array_equal(novelty.lines[0].get_xdata(), [1, 3, 6], "what has no novelty is no point")
    np.testing.assert_allclose(novelty.lines[0].get_ydata(), [0.1, 0.2, 0.4])
    assert (upright(goto, INK), upright(cards, INK)) == ([3], [])
    assert upright(goto, PROMOTED) == upright(cards, PROMOTED) == [3]
    assert upright(goto, FAINT) == upright(cards, FAINT) == [5]
    assert {line.get_label(): line.get_linestyle() for line in figure.legends[0].get_lines()}["rollback"] == "--"
    assert marked(goto) == {"reward": [5], "novelty": [6]}
    assert marked(cards) == {"mix": [4]}


def test_nothing_lived_yet_and_a_long_life(tmp_path: Path) -> None:
    png(drift_timeline([], []), tmp_path / "none.png")
    assert Image.open(tmp_path / "none.png").size[0] > 300
    rng = np.random.default_rng(0)
    long = [Lived(n, f"{n}", f"task {n % 3}", float(rng.random() < 0.7), float(rng.random())) for n in range(1, 7501)]
    figure = drift_timeline(long, [])
    assert len(figure.axes[0].lines[0].get_xdata()) <= 2000
    png(figure, tmp_path / "long.png")
    assert Image.open(tmp_path / "long.png").size[1] < 2000
