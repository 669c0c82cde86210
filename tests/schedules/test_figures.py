"""Figures are read back: the right numbers in the right cells, verdicts marked, and no limit on length."""

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from schedules.figures import PROMOTED, REFUSED, SHOWN, learning_curve, png, score_matrix, turnover, who_hurts_whom

TASKS = ["goto", "exchanged", "cards"]
SCORES = [[0.98, 0.31, None], [0.96, 0.93, None], [0.96, 0.93, 0.40]]
PRIMARY, ACCEPTED = ["exchanged", "cards"], [True, False]


def cells(figure: Figure) -> list[str]:
    """What is written in the cells, row by row."""
    written = [text for text in figure.axes[0].texts if text.get_text() not in ("promoted", "refused", "rolled back")]
    return [text.get_text() for text in written]


def test_every_score_stands_in_its_cell() -> None:
    figure = score_matrix(TASKS, SCORES, PRIMARY, ACCEPTED)
    assert cells(figure) == ["0.98", "0.31", "–", "0.96", "0.93", "–", "0.96", "0.93", "0.40"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == TASKS
    rows = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in rows] == ["before any cycle", "1  exchanged", "2  cards"]
    assert [to_hex(label.get_color()) for label in rows[1:]] == [PROMOTED, REFUSED]
    frames = [(patch.get_x() + 0.47, patch.get_y() + 0.44) for patch in figure.axes[0].patches]
    np.testing.assert_allclose(frames, [(1, 1), (2, 2)], err_msg="framed: exchanged in row 1, cards in row 2")


def test_who_hurts_whom_is_the_difference_of_rows() -> None:
    figure = who_hurts_whom(TASKS, SCORES, PRIMARY, ACCEPTED)
    assert cells(figure) == ["-0.02", "+0.62", "–", "+0.00", "+0.00", "–"]
    frames = [(patch.get_x() + 0.47, patch.get_y() + 0.44) for patch in figure.axes[0].patches]
    np.testing.assert_allclose(frames, [(1, 0), (2, 1)])


def test_turnover_says_what_was_lost_and_won() -> None:
    turned = [[[2, 1], [0, 62], [None, None]], [[0, 0], [0, 0], [None, None]]]
    figure = turnover(TASKS, turned, PRIMARY, ACCEPTED)
    assert cells(figure) == ["-2  +1", "-0  +62", "–", "-0  +0", "-0  +0", "–"]
    (image,) = figure.axes[0].images
    np.testing.assert_array_equal(image.get_array()[:, :2], [[2, 0], [0, 0]], err_msg="coloured by what was lost")


def test_a_rollback_is_neither_promoted_nor_refused() -> None:
    scores, primary, accepted = [*SCORES, SCORES[0]], [*PRIMARY, ""], [*ACCEPTED, None]
    axes = score_matrix(TASKS, scores, primary, accepted).axes[0]
    assert [t.get_text() for t in axes.texts[-3:]] == ["promoted", "refused", "rolled back"]
    assert axes.get_yticklabels()[-1].get_text() == "3  rollback"
    assert len(axes.patches) == 2, "nothing is framed in its row"
    curve = learning_curve(TASKS, scores, np.zeros((4, 3)), primary, accepted).axes[0]
    assert [line.get_xdata()[0] for line in curve.lines if line.get_linestyle() == "--"] == [3]


def test_many_tasks_stay_one_page(tmp_path: Path) -> None:
    tasks = [f"a task of many, number {i}" for i in range(30)]
    scores = np.random.default_rng(0).random((31, 30))
    png(score_matrix(tasks, scores, tasks, [True] * 30), tmp_path / "wide.png")
    assert Image.open(tmp_path / "wide.png").size[0] < 2600
    axes = learning_curve(tasks, scores, scores / 20, tasks, [True] * 30).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == tasks[:SHOWN]
    assert axes.texts[0].get_text() == "the first 8 of 30 tasks; the others: score matrix"


def test_learning_curve_marks_trainings() -> None:
    widths = [[None if score is None else 0.05 for score in row] for row in SCORES]
    axes = learning_curve(TASKS, SCORES, widths, PRIMARY, ACCEPTED).axes[0]
    named = {line.get_label(): line for line in axes.lines if line.get_label() in TASKS}
    assert list(named) == TASKS
    np.testing.assert_array_equal(named["goto"].get_ydata(), [0.98, 0.96, 0.96])
    marks = [(line.get_xdata().tolist(), line.get_markerfacecolor()) for line in axes.lines if line.get_marker() == "o"]
    assert ([1], named["exchanged"].get_color()) in marks, "a disc where it was promoted"
    assert ([2], "white") in marks, "a ring where it was refused"


def test_before_any_cycle_and_with_one_task(tmp_path: Path) -> None:
    png(score_matrix(["goto"], [[0.5]], [], []), tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").size[0] > 300
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"], "nothing is left beside it"


def test_a_thousand_cycles_stay_one_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores, primary, accepted = rng.random((1001, 4)), ["goto"] * 1000, [True] * 1000
    png(score_matrix(list("abcd"), scores, primary, accepted), tmp_path / "long.png")
    png(who_hurts_whom(list("abcd"), scores, primary, accepted), tmp_path / "hurt.png")
    png(learning_curve(list("abcd"), scores, scores / 20, primary, accepted), tmp_path / "curve.png")
    assert Image.open(tmp_path / "long.png").size[1] < 2000


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        png(score_matrix(TASKS, SCORES, PRIMARY, ACCEPTED), tmp_path / name)
    pictures = [np.asarray(Image.open(BytesIO((tmp_path / name).read_bytes()))) for name in ("a.png", "b.png")]
    np.testing.assert_array_equal(*pictures)
