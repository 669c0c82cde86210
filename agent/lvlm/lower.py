"""What the layers below every adapter make of rows: kept within a bound of bytes, whoever asks next."""

from collections.abc import Iterable

import torch

from agent.lvlm.kept import Kept
from agent.lvlm.rows import Row

_FORGOTTEN = 1024  # starts of rows that are gone, before they are looked through


class LowerStates:
    """States `[length, hidden]` of rows.

    A bare prompt is found at the start of a row with answers behind it, since no token of a prompt looks at those: what
    was played need not be read again to be remembered.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._kept: Kept[torch.Tensor] = Kept(limit_bytes)
        self._longer: dict[bytes, bytes] = {}  # key of a bare prompt -> key of a row that starts with it

    @property
    def bytes(self) -> int:
        """What is taken now."""
        return self._kept.bytes

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self._longer.clear()

    def get(self, row: Row) -> torch.Tensor | None:
        """A row's states, if they are there."""
        key = row.key
        found = self._kept.get(key)
        if found is not None or len(row.appended):
            return found
        whole = self._kept.get(self._longer.get(key, b""))
        return None if whole is None else whole[: len(row)]

    def put(self, computed: Iterable[tuple[Row, torch.Tensor]]) -> None:
        """Keep states."""
        by_key = {}
        for row, states in computed:
            by_key[row.key] = states
            if len(row.appended):
                self._longer[row.start.key] = row.key
        self._kept.put(by_key)
        if len(self._longer) > len(self._kept) + _FORGOTTEN:
            self._longer = {start: key for start, key in self._longer.items() if key in self._kept}
