"""How many tokens go into one forward pass: found once for machine and model, halved where memory runs out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from envs.component import UserError

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")

MOST = {"cpu": 8192, "cuda": 65536, "mps": 16384}
"""Beyond so many tokens a forward gains no speed, and only takes memory."""
LEAST = 512
SHARE = 0.25
"""Of the memory beside the weights, for what a forward keeps for its backward. The rest is for the backward's own
results, caches, the optimizer, the worlds, and others."""
TOLD = ("out of memory", "can't allocate memory", "not enough memory")


class Budget:
    """Tokens per forward pass, padding included.

    Attributes:
        tokens: how many.
        halvings: how often memory ran out.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.halvings = 0

    def each(
        self, lengths: Sequence[int], work: Callable[[list[int]], Result], retry: bool
    ) -> Iterator[tuple[list[int], Result]]:
        """Run `work` on groups of row numbers of similar length whose padded tokens stay within the budget.

        Args:
            lengths: of the rows, in tokens.
            work: gets the numbers of a group; may be run again on a smaller one.
            retry: whether to go on with less where memory runs out. Not while gradients are recorded: what earlier
                groups keep for the backward pass stays, so the whole step has to be done again.

        Yields:
            The numbers of each group, and what `work` made of them.

        Raises:
            UserError: one row alone is longer than the budget, or takes more memory than there is.
        """
        waiting = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        while waiting:
            some = self._first(waiting, lengths)
            done = self.attempt(partial(work, some), len(some) > 1) if retry else (work(some),)
            if done:
                yield some, done[0]
                waiting = waiting[len(some) :]

    def until_done(self, work: Callable[[], Result], can_shrink: Callable[[], bool]) -> Result:
        """Run `work`, which asks the budget itself, until it fits into memory.

        Args:
            can_shrink: whether a smaller budget would cut the work into smaller pieces.
        """
        while True:
            done = self.attempt(work, can_shrink())
            if done:
                return done[0]

    def attempt(self, work: Callable[[], Result], can_shrink: bool) -> tuple[Result] | tuple[()]:
        """Run `work`; nothing, and half the budget, if memory ran out.

        Raises:
            UserError: memory ran out, and nothing smaller can be tried.
        """
        try:
            return (work(),)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if not can_shrink:
                raise UserError(
                    "a single prompt takes more memory than there is: use smaller or fewer pictures, a shorter "
                    "history, a smaller lora.rank or fewer lora.last_layers, or a smaller model."
                ) from error
        # behind the handler, whose traceback holds what filled the memory
        self.tokens = max(1, self.tokens // 2)
        self.halvings += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        LOG.warning("memory ran out: going on with forwards of at most %d tokens", self.tokens)
        return ()

    def _first(self, waiting: list[int], lengths: Sequence[int]) -> list[int]:
        """The first group of `waiting`, which is sorted by length. One row alone may be longer after a halving."""
        if self.halvings == 0 and lengths[waiting[-1]] > self.tokens:
            raise UserError(
                f"one prompt has {lengths[waiting[-1]]} tokens, model.token_budget is {self.tokens}: raise it."
            )
        count = 1
        while count < len(waiting) and lengths[waiting[count]] * (count + 1) <= self.tokens:
            count += 1
        return waiting[:count]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this says so: each device does in its own way."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(told in str(error).lower() for told in TOLD)


def find_tokens(model: torch.nn.Module, forward: Callable[[], Tensor], tokens: int, memory: int, device: str) -> int:
    """Tokens per forward that surely fit: from what a small one keeps for its backward pass.

    A power of two, so that small differences between machines of one kind change nothing.

    Args:
        forward: a forward over `tokens` tokens, with gradients.
        memory: bytes of the device.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters())
    room = SHARE * (memory - weights) / (bytes_kept(model, forward) / tokens)
    fitting = 2 ** int(max(room, LEAST)).bit_length() // 2
    return min(fitting, MOST[device])


def bytes_kept(model: torch.nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.UntypedStorage] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> None:  # a node that keeps a tensor of its own graph would never be freed
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda _: torch.empty(0)):
        forward()
    return max(1, sum(kept.values()))
