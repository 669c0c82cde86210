"""What a person sees while a run goes on: phase, decisions per second, success so far. Never when it will be done.

`for_console` chooses: one live line on a terminal, now and then a plain line elsewhere (a log, CI), nothing in tests.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

Clock = Callable[[], float]


class Progress(Protocol):
    """A display of one run; a context manager, so that a terminal is given back however a run ends."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

    def cycle(self, number: int, total: int, task: str) -> None:
        """A cycle begins; 0 is the examination before any. `total` is 0 where nobody knows how many there will be."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins: its counts start at nothing."""

    def tick(self, decisions: int, done: int, success: float | None = None) -> None:
        """Decisions taken and episodes done since the phase began, and their success (0..1) if it is known."""

    def success(self, share: float) -> None:
        """Success (0..1) of what was just played."""

    def step(self, metrics: Mapping[str, float]) -> None:
        """An optimizer step was taken."""

    def done(self, sentence: str) -> None:
        """Something ended that is worth a line of its own: a verdict, say."""


@dataclass
class Counts:
    """What is known at this moment, and how it reads."""

    clock: Clock
    label: str = ""
    name: str = ""
    detail: str = ""
    began: float = 0.0
    decisions: int = 0
    episodes: int = 0
    steps: int = 0
    share: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def cycle(self, number: int, total: int, task: str) -> None:
        self.label = f"cycle {number}/{total} {task}" if total else f"cycle {number} {task}"
        self.share = None
        self.phase("", "")

    def phase(self, name: str, detail: str) -> None:
        self.name, self.detail, self.began = name, detail, self.clock()
        self.decisions = self.episodes = self.steps = 0

    def parts(self) -> list[tuple[str, str]]:
        """(text, rich style) of everything there is to say."""
        seconds = self.clock() - self.began
        told = [(self.label, "bold"), (self.name, "cyan"), (self.detail, "")]
        if self.decisions:
            rate = f"{self.decisions / seconds:.0f}" if seconds > 0 else "-"
            told += [(f"{rate} decisions/s", "green"), (f"{self.episodes} episodes", "dim")]
        if self.steps:
            loss = self.metrics.get("loss")
            told.append((f"step {self.steps}" + (f", loss {loss:.3f}" if loss is not None else ""), "dim"))
        if self.share is not None:
            told.append((f"success {self.share:.2f}", "yellow"))
        told.append((f"{seconds:.0f} s", "dim"))
        return [(text, style) for text, style in told if text]


class Plain:
    """Lines for a log: one a cycle, its verdict, and in between at most one every `every` seconds."""

    def __init__(self, console: Console, every: float = 15.0, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.every = every
        self.counts = Counts(clock)
        self.said = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def cycle(self, number: int, total: int, task: str) -> None:
        self.counts.cycle(number, total, task)
        self._say(self.counts.label)

    def phase(self, name: str, detail: str = "") -> None:
        self._now_and_then()  # before the old phase's counts go
        self.counts.phase(name, detail)

    def tick(self, decisions: int, done: int, success: float | None = None) -> None:
        self.counts.decisions, self.counts.episodes = decisions, done
        self.counts.share = self.counts.share if success is None else success
        self._now_and_then()

    def success(self, share: float) -> None:
        self.counts.share = share

    def step(self, metrics: Mapping[str, float]) -> None:
        self.counts.steps, self.counts.metrics = self.counts.steps + 1, metrics
        self._now_and_then()

    def done(self, sentence: str) -> None:
        self._say(sentence)

    def _now_and_then(self) -> None:
        if self.counts.name and self.counts.clock() - self.said >= self.every:
            self._say("  ".join(text for text, _ in self.counts.parts()))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.said = self.counts.clock()


class Lively(Plain):
    """The same on one line of a terminal that is drawn anew four times a second; verdicts stay above it."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console, every=float("inf"), clock=clock)
        self.spinner = Spinner("dots")
        self.live = Live(self, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def __rich__(self) -> Text:
        frame = str(self.spinner.render(self.console.get_time()))
        parts = [(frame, ""), *self.counts.parts()]
        return Text("  ", no_wrap=True, overflow="ellipsis").join(Text(*part) for part in parts)

    def cycle(self, number: int, total: int, task: str) -> None:
        self.counts.cycle(number, total, task)

    def done(self, sentence: str) -> None:
        """Broken at words: what breaks a long verdict in a terminal would do so anywhere."""
        self.console.print(sentence, markup=False, highlight=False)


class Silent:
    """Says nothing, and remembers nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def cycle(self, number: int, total: int, task: str) -> None:
        pass

    def phase(self, name: str, detail: str = "") -> None:
        pass

    def tick(self, decisions: int, done: int, success: float | None = None) -> None:
        pass

    def success(self, share: float) -> None:
        pass

    def step(self, metrics: Mapping[str, float]) -> None:
        pass

    def done(self, sentence: str) -> None:
        pass


def for_console(console: Console, **settings: Any) -> Progress:
    """The display that suits where the console writes to."""
    return (
        Lively(console, **settings)
        if console.is_terminal and not console.is_dumb_terminal
        else Plain(console, **settings)
    )
