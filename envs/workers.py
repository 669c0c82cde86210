"""Worlds in processes of their own: they step and draw while the model thinks.

A worker is `python -m envs.workers`: it knows nothing of torch, reads orders from its input and writes answers to its
output. It ends when its input does, however the parent ended. Several batches of orders may be under way; each worker
answers them in the order given.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

import numpy as np

from envs.component import UserError
from envs.instances import Instances
from envs.multimodal import WorldSettings
from envs.stage import Answer, Order, Raised, Seats, Start

PATIENCE = 3.0
"""Seconds in which a worker whose parent is gone, or says goodbye, may close its worlds."""
READY = "ready"
Pictures = tuple[np.ndarray, ...]


class Sender:
    """Packs answers: a picture that the parent has from this seat's last answer goes as its place there."""

    def __init__(self) -> None:
        self._last: dict[int, Pictures] = {}

    def pack(self, order: Order, answer: Answer) -> tuple[Answer, list[int]]:
        """The answer with its new pictures only, and where all of them are: behind the last answer's, by place."""
        last = self._last.pop(order.seat, ())
        if isinstance(answer, Raised):
            return answer, []
        images = answer.observation.images
        if not answer.over:
            self._last[order.seat] = images
        old = {id(image): place for place, image in enumerate(last)}
        fresh = [image for image in images if id(image) not in old]
        new = {id(image): len(last) + n for n, image in enumerate(fresh)}
        places = [(old | new)[id(image)] for image in images]
        return replace(answer, observation=replace(answer.observation, images=tuple(fresh))), places


class Worker:
    """A worker process, as its parent sees it.

    Attributes:
        told: how it died, empty while it lives.
    """

    def __init__(self, worlds: Mapping[str, WorldSettings]) -> None:
        """Start it; it makes itself ready by the time of its first answer."""
        path = os.pathsep.join(part or os.getcwd() for part in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "envs.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            process_group=0,  # Ctrl-C is the parent's business
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.told = ""
        self._is_ready = False
        self._last: dict[int, Pictures] = {}
        self._write(dict(worlds))

    @property
    def process(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, orders: Sequence[Order]) -> None:
        """Hand over orders."""
        if not self.told:
            self._write(list(orders))

    def hear(self, orders: Sequence[Order]) -> list[Answer]:
        """The answers to the oldest orders not heard yet, which are `orders`.

        Raises:
            UserError: it could not start, or a world can't be made there.
        """
        if not self._is_ready and self._read() != READY:
            raise UserError(
                f"workers: a worker process did not start ({self.told}); what it said stands above. Mend that, or set "
                "workers to 0, which plays worlds in this process."
            )
        self._is_ready = True
        packed = self._read()
        if packed is None:
            return [Raised(self.told)] * len(orders)
        if isinstance(packed, str):
            raise UserError(packed)
        return [self._unpack(order, *one) for order, one in zip(orders, packed, strict=True)]

    def part(self) -> None:
        """Say goodbye: it closes its worlds and ends."""
        self._out.close()  # it may be waiting to be heard
        with contextlib.suppress(OSError):
            self._in.close()

    def bury(self) -> int:
        """Wait until it has ended after goodbye, or kill it; returns its exit code."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _unpack(self, order: Order, answer: Answer, places: list[int]) -> Answer:
        last = self._last.pop(order.seat, ())
        if isinstance(answer, Raised):
            return answer
        known = last + answer.observation.images
        images = tuple(known[place] for place in places)
        if not answer.over:
            self._last[order.seat] = images
        return replace(answer, observation=replace(answer.observation, images=images))

    def _write(self, message: Any) -> None:
        try:
            _tell(self._in, message)
        except OSError:
            self._died()

    def _read(self) -> Any:
        """What it says next; None if it died."""
        if self.told:
            return None
        try:
            return pickle.load(self._out)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._died()
            return None

    def _died(self) -> None:
        self.part()
        self.told = f"WorkerDied: the world's process ended with code {self.bury()}"


class Workers:
    """A stage of several processes, started when they are first needed."""

    def __init__(self, worlds: Mapping[str, WorldSettings], count: int) -> None:
        self._worlds = dict(worlds)
        self._count = count
        self._workers: list[Worker] = []
        self._seats: dict[int, Worker] = {}
        self._asked: dict[int, list[tuple[Order, Worker]]] = {}

    @property
    def processes(self) -> list[int]:
        """Ids of the processes there are."""
        return [worker.process for worker in self._workers]

    def ask(self, half: int, orders: Sequence[Order]) -> None:
        """See `Stage`. Orders of one half are spread evenly; those of one seat stay in one process."""
        self._start()
        shares: dict[Worker, list[Order]] = {worker: [] for worker in self._workers}
        asked = []
        for order in orders:
            if isinstance(order, Start):
                self._seats[order.seat] = min(self._workers, key=lambda worker: len(shares[worker]))
            worker = self._seats[order.seat]
            shares.setdefault(worker, []).append(order)
            asked.append((order, worker))
        for worker, share in shares.items():
            if share:
                worker.ask(share)
        self._asked[half] = asked

    def hear(self, half: int) -> list[Answer]:
        """See `Stage`."""
        asked = self._asked.pop(half, [])
        shares: dict[Worker, list[Order]] = {}
        for order, worker in asked:
            shares.setdefault(worker, []).append(order)
        heard = {worker: iter(worker.hear(share)) for worker, share in shares.items()}
        return [next(heard[worker]) for _, worker in asked]

    def abandon(self) -> None:
        """See `Stage`: ends the processes; the next orders start others."""
        for worker in self._workers:
            worker.part()
        for worker in self._workers:
            worker.bury()
        self._workers, self._seats, self._asked = [], {}, {}

    def _start(self) -> None:
        """See that all are there and alive."""
        self._workers = [worker for worker in self._workers if not worker.told]
        while len(self._workers) < self._count:
            self._workers.append(Worker(self._worlds))


# -- in the worker ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Play worlds until the input ends."""
    source, target = _own(0, os.O_RDONLY), _own(1, os.O_WRONLY)
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(source, "rb"), orders), daemon=True).start()
    pool = Instances(orders.get() or {})
    seats = Seats(pool)
    try:
        with contextlib.suppress(OSError), os.fdopen(target, "wb") as out:
            _play(seats, orders, out)
    finally:
        seats.clear()
        pool.close()


def _own(standard: int, flags: int) -> int:
    """A private copy of standard input or output; what worlds read is nothing, and what they print goes to stderr."""
    private = os.dup(standard)
    other = os.open(os.devnull, flags) if standard == 0 else 2
    os.dup2(other, standard)
    return private


def _play(seats: Seats, orders: "queue.SimpleQueue[Any]", out: IO[bytes]) -> None:
    sender = Sender()
    _tell(out, READY)
    while (batch := orders.get()) is not None:
        try:
            answers: Any = [sender.pack(order, seats.do(order)) for order in batch]
        except UserError as error:
            answers = str(error)
        _tell(out, answers)


def _tell(out: IO[bytes], message: Any) -> None:
    pickle.dump(message, out, protocol=5)
    out.flush()


def _listen(source: IO[bytes], orders: "queue.SimpleQueue[Any]") -> None:
    """Hand on orders; once they end, the process ends, whatever its worlds are doing."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            orders.put(pickle.load(source))
    orders.put(None)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    main()
