"""What the nearest remembered observation has in common with the one that is asked: the same task, question, answer?

    python -m benchmarks.embedding [--json FILE] [--quick]

And how surely does novelty, the distance to what is remembered, tell a drifted world from the same one?

The pilot plays the default stream's regimes that can be told apart; its experts say what is right. Rooms that are asked
about are never among those remembered. Poolings that were not kept are measured beside the one that was.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from agent.embedders.lvlm import LvlmEmbedder, mean_word
from agent.lvlm.adapters import BASE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.rows import Prompt, Row
from agent.policy import Policy
from benchmarks.runs import arguments, finish, machine
from envs.collect import WorldPool, collect
from envs.types import Episode, Observation, Ticket
from memory.database import Database
from memory.embedding import Embedder, HashEmbedder
from memory.store import ReplayMemory
from memory.unit_vectors import unit
from schedules.config import load_stream

REMEMBERED, ASKED = 200, 50
ALIKE = "unsaid"
"""The regime that is left out: it shows what `goto` shows, so that nothing seen could tell it."""
Seen = Sequence[Observation]


GOTO = "goto as it was"
DRIFTS: dict[str, list[dict[str, Any]]] = {
    GOTO: [],
    "other rooms of it": [],
    "left and right exchanged, unsaid": [{"type": "controls", "exchange": ["turn left", "turn right"], "said": False}],
    "colours exchanged, unsaid": [{"type": "palette", "channels": [2, 0, 1], "said": False}],
    "go to -> walk over to": [{"type": "wording", "replace": {"go to": "walk over to"}, "said": False}],
}


@dataclass(frozen=True, slots=True)
class Shown:
    """Observations, and what is true of each: its task, its words, and what is right to say. Arrays are `[n]`."""

    observations: list[Observation]
    task: np.ndarray
    words: np.ndarray
    answer: np.ndarray


@torch.no_grad()
def main() -> None:
    """Measure, print the table, write the figures."""
    given = arguments(__doc__ or "")
    policy = Policy(ModelSettings(threads=1), LoraSettings(last_layers=2))
    share = 4 if given.quick else 1
    kept, asked = play(policy, 0, REMEMBERED // share), play(policy, 10**6, ASKED // share)
    counts = f"{len(kept.task)} observations of {len(set(kept.task))} tasks remembered, {len(asked.task)} asked"
    print(f"the pilot, 1 thread; {machine()}\n{counts}: share for which the nearest agrees\n")
    print(f"{'':34}{'numbers':>8}{'task':>8}{'words':>8}{'answer':>8}{'answer, of its words':>22}{'us each':>9}")
    figures: dict[str, float] = {}
    for name, pool in poolings(policy).items():
        began = time.perf_counter()
        of_kept = pool(kept.observations)
        microseconds = 1e6 * (time.perf_counter() - began) / len(kept.task)
        policy.forget()
        told = agreement(kept, asked, of_kept, pool(asked.observations))
        figures |= {f"{name}_{what}": value for what, value in told.items()} | {f"{name}_us": microseconds}
        task, words, answer, of_words = told.values()
        print(f"{name:34}{of_kept.shape[1]:8}{task:8.2f}{words:8.2f}{answer:8.2f}{of_words:22.2f}{microseconds:9.0f}")
    finish(figures | novelties(policy, REMEMBERED // share), given.json)


def play(policy: Policy, first: int, episodes: int) -> Shown:
    """What the pilot meets in so many rooms of each task."""
    regimes = load_stream("default").regimes.items()
    worlds = {name: regime.world.with_(expert=True) for name, regime in regimes if name != ALIKE}
    pool = WorldPool(worlds)
    tickets = [Ticket(f"{t}/{first + i}", t, first + i, f"{i}", 0, 0) for t in worlds for i in range(episodes)]
    met = [(e.task, step) for e in collect(policy, tickets, pool) for step in e.steps]
    pool.close()
    policy.forget()
    words = np.array([step.observation.text for _, step in met])
    right = np.array([step.info["expert"] for _, step in met])
    return Shown([step.observation for _, step in met], np.array([task for task, _ in met]), words, right)


def agreement(kept: Shown, asked: Shown, of_kept: np.ndarray, of_asked: np.ndarray) -> dict[str, float]:
    """Shares of what is asked for which the nearest has the same task, words, answer; and of those with its words."""
    near = unit(of_asked) @ unit(of_kept).T
    nearest = near.argmax(1)
    same_words = kept.words[None] == asked.words[:, None]
    there = same_words.any(1)
    of_words = np.where(same_words, near, -2).argmax(1)
    return {
        "task": float(np.mean(kept.task[nearest] == asked.task)),
        "words": float(np.mean((kept.words[nearest] == asked.words)[there])),
        "answer": float(np.mean(kept.answer[nearest] == asked.answer)),
        "answer_of_words": float(np.mean((kept.answer[of_words] == asked.answer)[there])),
    }


def novelties(policy: Policy, episodes: int) -> dict[str, float]:
    """How surely novelty tells a step of a drifted world from one of the same world: 0.5 is chance, 1 always."""
    goto = load_stream("default").regimes["goto"].world
    pool = WorldPool({name: goto.with_(drift=drift) for name, drift in DRIFTS.items()})
    rooms = [*DRIFTS, "remembered"]
    tickets = [
        Ticket(f"{name}/{i}", GOTO if name == "remembered" else name, 10**7 * n + i, f"{i}", 0, 0)
        for n, name in enumerate(rooms)
        for i in range(episodes)
    ]
    played = collect(policy, tickets, pool)
    pool.close()
    met = {name: [e for e, t in zip(played, tickets, strict=True) if t.id.startswith(name)] for name in rooms}
    print(f"\nnovelty of a step (8 nearest) against other rooms: area under the curve\n{'':34}{'hash':>8}{'lvlm':>8}")
    told = [_novelties(embedder, met) for embedder in (HashEmbedder(), LvlmEmbedder(policy))]
    for name in list(DRIFTS)[1:]:
        areas = [area(of[GOTO], of[name]) for of in told]
        print(f"{name:34}{areas[0]:8.2f}{areas[1]:8.2f}")
    return {f"novelty_{name}": area(told[1][GOTO], told[1][name]) for name in list(DRIFTS)[1:]}


def _novelties(embedder: Embedder, met: Mapping[str, Sequence[Episode]]) -> dict[str, np.ndarray]:
    """Of every step met, `[n]`, in a memory that holds `remembered`."""
    with TemporaryDirectory() as folder, Database(Path(folder) / "run.db") as database:
        memory = ReplayMemory(database, embedder)
        memory.add(met["remembered"])
        return {
            name: memory.novelty([step.observation for episode in met[name] for step in episode.steps])
            for name in DRIFTS
        }


def area(low: np.ndarray, high: np.ndarray) -> float:
    """The chance that one of `high` is above one of `low`, half of it for equals."""
    below = np.searchsorted(np.sort(low), high, "left") + np.searchsorted(np.sort(low), high, "right")
    return float(below.mean() / 2 / len(low))


def poolings(policy: Policy) -> dict[str, Callable[[Seen], np.ndarray]]:
    """Each way to make vectors of observations, by what it is called in the table."""
    rng, whole = np.random.default_rng(0), LvlmEmbedder(policy)
    half = whole.dimension // 2
    pictures, states = Pictures(policy), States(policy)

    def words(seen: Seen) -> np.ndarray:
        means = {one.text: mean_word(policy, one).numpy() for one in seen}
        return np.stack([means[one.text] for one in seen])

    return {
        "chance": lambda seen: rng.normal(size=(len(seen), 64)).astype(np.float32),
        "hash": HashEmbedder().embed,
        "pictures, mean + words": lambda seen: both(pictures(seen), words(seen)),
        "words": words,
        "last state": lambda seen: whole.embed(seen)[:, :half],
        "states of words, mean": states,
        "states of words, mean + words": lambda seen: both(states(seen), words(seen)),
        "pictures, mean + last state": lambda seen: both(pictures(seen), whole.embed(seen)[:, :half]),
        "last state + words (lvlm)": whole.embed,
        "lvlm, projected to 128": LvlmEmbedder(policy, 128).embed,
        "lvlm, projected to 64": LvlmEmbedder(policy, 64).embed,
    }


def both(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Side by side, each of length 1."""
    return np.concatenate([unit(left), unit(right)], axis=1)


class Pictures:
    """Mean of what the frozen vision tower says of the pictures."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, seen: Seen) -> np.ndarray:
        with self.policy.using(BASE):
            looked = self.policy.vision.pictures([observation.images for observation in seen])
        return torch.stack([torch.cat([p.flat for p in some]).mean(0) for some in looked]).numpy()


class States:
    """Masked mean of the base's states over the words of the prompt, pictures and padding left out."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, seen: Seen) -> np.ndarray:
        policy, out = self.policy, []
        with policy.using(BASE):
            for start in range(0, len(seen), 64):
                some = seen[start : start + 64]
                looked = policy.vision.pictures([observation.images for observation in some])
                ids = [policy.prompter.prompt(observation).ids for observation in some]
                chains = [tuple(range(-1, len(row) - 2)) for row in ids]  # a state is wanted at each token
                rows = [Row(Prompt(i[:1]), p, i[1:], c) for i, p, c in zip(ids, looked, chains, strict=True)]
                for row, states in zip(ids, policy.engine.whole.states(rows, policy.budget.tokens), strict=True):
                    out.append(states[torch.from_numpy(row != policy.checkpoint.image_token)].mean(0))
        return torch.stack(out).numpy()


if __name__ == "__main__":
    main()
