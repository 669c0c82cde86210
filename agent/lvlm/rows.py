"""What one forward row holds: a prompt, what the tower says of its pictures, and tokens behind it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """An encoded prompt.

    Attributes:
        ids: with expanded image places, int64 `[L]`.
        tokens: what the family wants to know of each token (types, who sees which picture), `[L, ...]`.
        images: what it wants to know of each picture beside its features (its grid), `[images, ...]`.
    """

    ids: np.ndarray
    tokens: dict[str, Tensor] = field(default_factory=dict)
    images: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What the vision tower says of one picture.

    Attributes:
        key: its content hash.
        parts: float `[tokens, hidden]` for each crop.
        deep: what is added in deeper layers (Qwen3-VL), `[tokens, hidden]` for each level and crop.
        stacked: whether the family wants crops as one tensor, and not as a list.
    """

    key: bytes
    parts: tuple[Tensor, ...]
    deep: tuple[tuple[Tensor, ...], ...] = ()
    stacked: bool = False

    @property
    def flat(self) -> Tensor:
        """All its features, `[tokens, hidden]`."""
        return self.parts[0] if len(self.parts) == 1 else torch.cat([part.flatten(0, -2) for part in self.parts])

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return sum(part.nbytes for part in (*self.parts, *(part for level in self.deep for part in level)))


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one forward row holds.

    Attributes:
        prompt: what is asked.
        pictures: of the prompt, in order.
        appended: ids behind the prompt, int64 `[N]`; states are wanted at the prompt's last position and at each.
        parents: for each appended token its parent's place among them, -1 for the prompt.
    """

    prompt: Prompt
    pictures: tuple[Picture, ...]
    appended: np.ndarray
    parents: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.appended)

    @property
    def is_chain(self) -> bool:
        """Whether each appended token follows the one before it: plain causal attention is right."""
        return self.parents == tuple(range(-1, len(self.parents) - 1))

    @property
    def key(self) -> bytes:
        """Names the row by all it holds."""
        branches = b"" if self.is_chain else repr(self.parents).encode()
        pictures = (picture.key for picture in self.pictures)
        return b"|".join((self.prompt.ids.tobytes(), self.appended.tobytes(), branches, *pictures))

    @property
    def start(self) -> "Row":
        """The bare prompt."""
        return Row(self.prompt, self.pictures, self.appended[:0], ())

    def chains(self) -> list[list[int]]:
        """Places of the appended tokens on the way to each leaf; one empty way if there are none."""
        inner = set(self.parents)
        ways = []
        for leaf in (n for n in range(len(self.parents)) if n not in inner):
            way = [leaf]
            while self.parents[way[0]] >= 0:
                way.insert(0, self.parents[way[0]])
            ways.append(way)
        return ways or [[]]


@dataclass(frozen=True, slots=True)
class Told:
    """What the model makes of a row.

    Attributes:
        logits: `[1 + N, vocabulary]`, after its prompt and after each appended token.
        state: the last hidden state of its prompt, `[hidden]`; no gradient.
    """

    logits: Tensor
    state: Tensor


def branches(rows: Sequence[Row], longest: int) -> tuple[Tensor, Tensor]:
    """Who sees whom, bool `[B, L, L]`, and positions, int64 `[B, L]`, in rows padded on the right to `longest`."""
    seen = torch.ones(longest, longest, dtype=torch.bool).tril().repeat(len(rows), 1, 1)
    positions = torch.arange(longest).repeat(len(rows), 1)
    for i, row in enumerate(rows):
        if row.is_chain:
            continue
        start, end = len(row.prompt), len(row)
        above = np.zeros((end - start, end - start), dtype=bool)
        for n, parent in enumerate(row.parents):
            if parent >= 0:
                above[n] = above[parent]
            above[n, n] = True
        seen[i, start:end, start:end] = torch.from_numpy(above)
        positions[i, start:end] = start - 1 + torch.from_numpy(above.sum(1))
    return seen, positions
