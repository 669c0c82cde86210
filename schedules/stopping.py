"""Stopping a service: at once where nothing is lost by it, and in any case before the patience of others ends."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Self

from schedules.progress import Progress

FORCED_AFTER_SECONDS = 12
"""A step of a large model may take long; then the cycle is given up in the middle of it."""

ASKED = "holdtrue stop"
"""Why it stops where a person said so, and no signal came."""


class Abandoned(BaseException):
    """What is running is given up: nothing of it is committed. No `except Exception` holds it up."""


class Interruptible:
    """A display that is also where a running cycle hears of the world outside: `listen` may raise `Abandoned`.

    Every tick of the worlds, every optimizer step and every new phase passes here.
    """

    def __init__(self, inner: Progress, listen: Callable[[], None]) -> None:
        self.inner = inner
        self.listen = listen

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.inner.__exit__(*exception)

    def cycle(self, number: int, total: int, task: str) -> None:
        """See `Progress`."""
        self.inner.cycle(number, total, task)

    def phase(self, name: str, detail: str = "") -> None:
        """See `Progress`."""
        self.inner.phase(name, detail)
        self.listen()

    def tick(self, decisions: int, done: int, success: float | None = None) -> None:
        """See `Progress`."""
        self.inner.tick(decisions, done, success)
        self.listen()

    def success(self, share: float) -> None:
        """See `Progress`."""
        self.inner.success(share)

    def step(self, metrics: Mapping[str, float]) -> None:
        """See `Progress`."""
        self.inner.step(metrics)
        self.listen()

    def done(self, sentence: str) -> None:
        """See `Progress`."""
        self.inner.done(sentence)


@contextmanager
def on_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """For the length of a block, SIGTERM and SIGINT call `stop` with a word for why.

    Whoever has not left the block `FORCED_AFTER_SECONDS` later, or hears a second signal, is thrown out: `Abandoned`;
    and again after as many seconds more.
    """
    heard: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        if heard:
            raise Abandoned
        heard.append(number)
        signal.alarm(FORCED_AFTER_SECONDS)
        stop("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    def force(_number: int, _frame: FrameType | None) -> None:
        signal.alarm(FORCED_AFTER_SECONDS)  # telling others that it ended may take too long as well
        raise Abandoned

    before = [(kind, signal.signal(kind, hear)) for kind in (signal.SIGTERM, signal.SIGINT)]
    before.append((signal.SIGALRM, signal.signal(signal.SIGALRM, force)))
    try:
        yield
    finally:
        signal.alarm(0)
        for kind, handler in before:
            signal.signal(kind, handler)
