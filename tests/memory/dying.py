"""A process that kills itself at the n-th thing it does to the disk: what a power button does, at every place."""

import os
import signal
from collections.abc import Callable

from memory import index_file
from memory.database import Database

_PATIENCE = 120  # seconds, after which the child is stuck
WRITES = [
    (Database, "execute"),
    (Database, "executemany"),
    (index_file._Digesting, "write"),
    (os, "fsync"),
    (os, "replace"),
]


def dies_at(n: int, life: Callable[[], None]) -> bool:
    """Whether `life`, lived by a child, came to its n-th statement or write to the index file and was killed there."""
    child = os.fork()
    if child == 0:
        signal.alarm(_PATIENCE)
        try:
            _count_down(n)
            life()
            os._exit(0)
        except BaseException as error:  # the child must not go on as a second pytest
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, "the child failed by itself, or got stuck"
    return killed


def _count_down(n: int) -> None:
    left = [n]
    for owner, name in WRITES:
        inner = getattr(owner, name)

        def call(*arguments, inner=inner):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments)

        setattr(owner, name, call)
