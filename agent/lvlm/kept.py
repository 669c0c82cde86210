"""What need not be computed again, within a bound of bytes."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that knows the memory it takes."""

    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


@dataclass(slots=True)
class Tally:
    """How often a result was there already."""

    hits: int = 0
    misses: int = 0

    @property
    def rate(self) -> float:
        """Share of results that were not computed again, 0..1."""
        return self.hits / max(self.hits + self.misses, 1)


class Kept(Generic[T]):
    """Results by what they are results of; the longest unused go beyond the bound.

    Attributes:
        bytes: what is taken now.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._results: OrderedDict[bytes, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def __contains__(self, key: bytes) -> bool:
        return key in self._results

    def get(self, key: bytes) -> T | None:
        """A result, if it is there."""
        found = self._results.get(key)
        if found is not None:
            self._results.move_to_end(key)
        return found

    def clear(self) -> None:
        """Drop every result."""
        self._results.clear()
        self.bytes = 0

    def put(self, results: Mapping[bytes, T]) -> None:
        """Keep results."""
        for key, result in results.items():
            if key not in self._results:
                self._results[key] = result
                self.bytes += result.nbytes
        while self.bytes > self.limit_bytes and self._results:
            _, dropped = self._results.popitem(last=False)
            self.bytes -= dropped.nbytes
