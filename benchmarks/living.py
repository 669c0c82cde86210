"""What drift is seen in, of episodes that the pilot lives through in goto's rooms, as they were and as they drift."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from agent.embedders.lvlm import LvlmEmbedder
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.collect import WorldPool, collect
from envs.types import Episode, Ticket
from memory.database import Database
from memory.embedding import Embedder
from memory.store import ReplayMemory
from schedules.config import load_stream
from schedules.lived import Lived, lived_of

GOTO = "as it was"
DRIFTS: dict[str, list[dict[str, Any]]] = {
    GOTO: [],
    "colours exchanged": [{"type": "palette", "channels": [2, 0, 1], "said": False}],
    "other words": [{"type": "wording", "replace": {"go to": "walk over to"}, "said": False}],
    "controls renamed": [
        {"type": "renamed", "names": {"turn left": "one", "turn right": "two", "go forward": "three"}}
    ],
    "controls exchanged": [{"type": "controls", "exchange": ["turn left", "turn right"], "said": False}],
}
REMEMBERED = "remembered"


@dataclass(frozen=True, slots=True)
class Lives:
    """Episodes of one world: what was lived, and the instruction of each."""

    lived: list[Lived]
    words: np.ndarray


def lives(as_it_was: int, drifted: int, remembered: int = 200) -> dict[str, Lives]:
    """So many episodes of goto as it was and of each drifted world, against a memory of other rooms as they were."""
    return read(*played(as_it_was, drifted, remembered))


def played(as_it_was: int, drifted: int, remembered: int) -> tuple[Embedder, dict[str, list[Episode]]]:
    """What embeds observations, and the episodes by name: those that are remembered, and each world's."""
    policy = Policy(ModelSettings(threads=1), LoraSettings(last_layers=2))
    goto = load_stream("default").regimes["goto"].world
    pool = WorldPool({name: goto.with_(drift=drift) for name, drift in DRIFTS.items()})
    counts = {REMEMBERED: remembered, **dict.fromkeys(DRIFTS, drifted), GOTO: as_it_was}
    tickets = [
        Ticket(f"{name}/{i}", GOTO if name == REMEMBERED else name, 10**6 * n + i, f"{i}", 0, 0)
        for n, (name, count) in enumerate(counts.items())
        for i in range(count)
    ]
    episodes = collect(policy, tickets, pool)
    pool.close()
    policy.forget()
    met = {name: [e for e, t in zip(episodes, tickets, strict=True) if t.id.startswith(name)] for name in counts}
    return LvlmEmbedder(policy), met


def read(embedder: Embedder, met: Mapping[str, list[Episode]]) -> dict[str, Lives]:
    """What the watch is told of each world's episodes, against those that are remembered."""
    told = {}
    with TemporaryDirectory() as folder, Database(Path(folder) / "run.db") as database:
        memory = ReplayMemory(database, embedder)
        memory.add(met[REMEMBERED])
        for name in DRIFTS:
            lived = []
            for number, episode in enumerate(met[name], 1):
                vectors = embedder.embed([step.observation for step in episode.steps])
                one = lived_of(number, episode, vectors, memory, "goto", [GOTO], before_cycle=1)
                lived += [one] if one else []
            words = np.array([e.steps[0].observation.text for e in met[name]])
            told[name] = Lives(lived, words)
    return told
