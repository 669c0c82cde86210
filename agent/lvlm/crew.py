"""Threads that share the rows of a forward, each alone with its part.

torch's own threads share every product instead, and meet after each: where products are small, they wait more than they
work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew:
    """So many threads; one does its work where it is called.

    Parts depend on the number of threads alone, so that bits repeat.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.size, "holdtrue-crew", initializer=torch.set_num_threads, initargs=(1,))

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work` on each item, side by side, in order; gradients are recorded if they are recorded here."""
        if self.size == 1 or len(items) < 2:
            return [work(item) for item in items]
        recording = torch.is_grad_enabled()

        def recorded(item: Item) -> Result:
            with torch.set_grad_enabled(recording):
                return work(item)

        return list(self._pool.map(recorded, items))

    def shares(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Equal stretches of `items`, in order, one for each thread that gets any."""
        count = min(self.size, len(items))
        return [items[n * len(items) // count : (n + 1) * len(items) // count] for n in range(count)]
