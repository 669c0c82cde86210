"""A policy without a model: it says the first allowed answer. What the loop asks of a policy, and nothing more."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.lvlm.kept import Kept, Tally
from envs.types import Choices, Observation, Reply


class FakePolicy:
    """Stands for `agent.policy.Policy` in `schedules.loop`."""

    version = "fake"
    threads = 1
    flops = 0.0

    def __init__(self, *_: Any) -> None:
        self.checkpoint = SimpleNamespace(identity="fake")
        self.budget = SimpleNamespace(tokens=1, halvings=0)
        self.operations = SimpleNamespace(back_to=lambda total: None)
        self.prompter = SimpleNamespace(prompts={}, longest_seen=0)
        self.decider, self.vision = (SimpleNamespace(kept=Kept[Any](0), tally=Tally()) for _ in range(2))
        self.engine = SimpleNamespace(kept=Kept[Any](0))

    @contextmanager
    def using(self, adapter: str) -> Iterator[None]:
        yield

    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        tokens, paid = np.array([1]), np.zeros(1, np.float32)
        return [Reply((texts or ("",))[0], tokens, paid, "closed") for texts in choices]

    def save(self, folder: Path, *_: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_model.safetensors").write_bytes(b"nothing")

    def parameters(self) -> list[Any]:
        return []

    def snapshot(self) -> list[Any]:
        return []

    def reuse(self) -> dict[str, float]:
        return {}

    def nothing(self, *_: Any) -> None:
        pass

    fork = adopt = discard = forget = load_champion = restore = interpolate = nothing
