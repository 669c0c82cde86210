"""Progress: one live line on a terminal, few lines in a log, nothing when silent."""

import io

import pytest
from rich.console import Console

from schedules.progress import Lively, Plain, Progress, Silent, for_console


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def log() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=80), written


def test_a_log_is_not_flooded() -> None:
    """One minute of ticks, ten a second, and a line at most every 15 seconds: the cycle, three or four, the verdict."""
    console, written = log()
    clock = Clock()
    with Plain(console, every=15.0, clock=clock) as progress:
        progress.cycle(2, 6, "exchanged")
        progress.phase("rollout", "round 1 of 8")
        for tick in range(1, 600):
            clock.now = tick / 10
            progress.tick(tick * 40, tick // 10, success=0.5)
        progress.done("promoted: exchanged 0.31 -> 0.93 [at least +0.54]")
    lines = written.getvalue().splitlines()
    assert lines[0] == "cycle 2/6 exchanged"
    assert lines[1] == "cycle 2/6 exchanged  rollout  round 1 of 8  400 decisions/s  15 episodes  success 0.50  15 s"
    assert lines[-1] == "promoted: exchanged 0.31 -> 0.93 [at least +0.54]", "whole, and no markup"
    assert len(lines) == 5


def test_a_phase_begins_at_nothing() -> None:
    console, written = log()
    clock = Clock()
    progress = Plain(console, every=1.0, clock=clock)
    progress.cycle(1, 6, "cards")
    progress.phase("rollout")
    progress.tick(100, 5)
    progress.phase("update", "grpo")
    clock.now = 2.0
    progress.step({"loss": 0.25})
    assert written.getvalue().splitlines()[-1] == "cycle 1/6 cards  update  grpo  step 1, loss 0.250  2 s"


def test_success_belongs_to_its_cycle() -> None:
    console, written = log()
    clock = Clock()
    progress = Plain(console, every=1.0, clock=clock)
    progress.cycle(1, 6, "cards")
    progress.success(0.75)
    progress.phase("exam")
    clock.now = 2.0
    progress.tick(0, 0)
    assert "success 0.75" in written.getvalue()
    progress.cycle(2, 6, "goto")
    progress.phase("exam")
    clock.now = 4.0
    progress.tick(0, 0)
    assert "success" not in written.getvalue().splitlines()[-1]


def test_a_terminal_shows_one_line_and_gives_it_back() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120, color_system=None)
    clock = Clock()
    with Lively(console, clock=clock) as progress:
        progress.cycle(1, 6, "exchanged")
        progress.phase("rollout", "round 1 of 8")
        clock.now = 2.0
        progress.tick(800, 10, success=0.5)
        progress.live.refresh()
        progress.done("refused: no gain")
    text = written.getvalue()
    assert "cycle 1/6 exchanged  rollout  round 1 of 8  400 decisions/s  10 episodes  success 0.50  2 s" in text
    assert "refused: no gain" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h"), "the cursor is shown again"


def test_the_live_line_is_cut_and_not_broken_where_a_terminal_is_narrow() -> None:
    written = io.StringIO()
    with Lively(Console(file=written, force_terminal=True, width=40, color_system=None)) as progress:
        progress.cycle(1, 6, "exchanged")
        progress.phase("rollout", "living in what is known: 128 episodes")
        written.truncate(0)
        progress.live.refresh()
    shown = written.getvalue()
    assert "cycle 1/6 exchanged  rollout  living" in shown
    assert "episodes" not in shown
    assert "…" in shown


def test_a_long_verdict_is_broken_at_words_on_a_terminal_and_stays_one_line_in_a_log() -> None:
    """Twenty words of nine letters: no more than four of them, and their spaces, fit into 40 columns."""
    sentence = " ".join(["forgotten"] * 20)
    written = io.StringIO()
    with Lively(Console(file=written, force_terminal=True, width=40, color_system=None)) as progress:
        progress.done(sentence)
    assert " ".join(["forgotten"] * 4) + "\n" in written.getvalue()
    assert sentence not in written.getvalue()
    console, written = log()
    Plain(console).done(sentence)
    assert written.getvalue() == sentence + "\n"


def test_an_exception_gives_the_terminal_back() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    with pytest.raises(KeyboardInterrupt), Lively(console):
        raise KeyboardInterrupt
    assert "\x1b[?25h" in written.getvalue(), "the cursor is shown again"


def test_the_display_suits_the_console() -> None:
    assert isinstance(for_console(log()[0]), Plain)
    assert not isinstance(for_console(log()[0]), Lively)
    assert isinstance(for_console(Console(file=io.StringIO(), force_terminal=True)), Lively)


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Progress = Silent()
    with progress:
        progress.cycle(1, 2, "goto")
        progress.phase("rollout")
        progress.tick(1, 1)
        progress.success(1.0)
        progress.step({})
        progress.done("promoted")
    assert capsys.readouterr() == ("", "")
