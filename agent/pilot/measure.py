"""What the pilot can do, on pictures and seeds that training never met."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.pilot.batch import Batcher, answer_logits
from agent.pilot.figures import FIGURES, unsure_scene
from agent.pilot.questions import UNDECIDED, Rng, Scene, room_scene
from agent.policy import Policy
from envs.collect import WorldPool, collect
from envs.multimodal import WorldSettings
from envs.types import Ticket

HELD_OUT = 1_000_003
"""Seed of held-out scenes; training seeds its generators by (seed, step) pairs."""
EXAM_SEEDS = 5_000_000
FEW = 8


@dataclass(frozen=True, slots=True)
class Score:
    """Share of questions answered exactly, how many there were, and the share of the worst single answer (of those
    that were right at least `FEW` times), which shows a thing that is never recognised."""

    share: float
    count: int
    worst: float


@dataclass(frozen=True, slots=True)
class Skill:
    """Held-out results.

    Attributes:
        answers: kind of question -> how well it is answered.
        undecided: kind -> mean over questions of the probability of the recorded, randomly drawn answer.
        play: control -> share of GoTo episodes won, sampled at temperature 1.
        episodes: of each control.
    """

    answers: dict[str, Score]
    undecided: dict[str, float]
    play: dict[str, float]
    episodes: int


def held_out_scenes(count: int, rng: Rng) -> list[Scene]:
    """Half rooms, half the rest."""
    makers = [maker for maker, _ in FIGURES.values()]
    rooms = [room_scene(rng, 8, 3) for _ in range(count // 2)]
    figures = [makers[i % len(makers)](rng, 8) for i in range(count - len(rooms) - count // 8)]
    return rooms + figures + [unsure_scene(rng) for _ in range(count // 8)]


@torch.no_grad()
def answer(
    model: torch.nn.Module, batcher: Batcher, scenes: Sequence[Scene]
) -> tuple[dict[str, Score], dict[str, float]]:
    """Exact greedy answers per kind, and mean probability of the drawn answer where none is right."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    sure: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(scenes), 32):
        some = scenes[start : start + 32]
        batch = batcher(some)
        logits = answer_logits(model, batch)
        questions = [q for scene in some for q in scene.questions]
        wrong = torch.zeros(len(questions)).index_add(0, batch.owner, (logits.argmax(1) != batch.targets).float())
        paid = logits.log_softmax(1).gather(1, batch.targets[:, None])[:, 0]
        total = torch.zeros(len(questions)).index_add(0, batch.owner, paid)
        for question, misses, log_prob in zip(questions, wrong.tolist(), total.tolist(), strict=True):
            right[question.kind][question.answer].append(misses == 0)
            sure[question.kind].append(float(np.exp(log_prob)))
    answers = {kind: _score(by_answer) for kind, by_answer in sorted(right.items()) if kind not in UNDECIDED}
    return answers, {k: float(np.mean(sure[k])) for k in UNDECIDED if k in sure}


def _score(by_answer: dict[str, list[bool]]) -> Score:
    every = [hit for hits in by_answer.values() for hit in hits]
    worst = min(
        (float(np.mean(hits)) for hits in by_answer.values() if len(hits) >= FEW), default=float(np.mean(every))
    )
    return Score(float(np.mean(every)), len(every), worst)


def goto_worlds() -> dict[str, WorldSettings]:
    """GoTo as it is (`sampled`), without the instruction (`deaf`), and without the picture (`blind`)."""
    goto = WorldSettings.model_validate({"id": "envs.babyai:GoTo-v0", "success": {"info": "success"}})
    blank = {"deaf": "text", "blind": "pictures"}
    return {"sampled": goto} | {n: goto.with_(drift=[{"type": "blank", "what": w}]) for n, w in blank.items()}


def play(policy: Policy, episodes: int) -> dict[str, float]:
    """Share of GoTo episodes won on held-out seeds."""
    pool = WorldPool(goto_worlds())
    seeds = range(EXAM_SEEDS, EXAM_SEEDS + episodes)
    out = {}
    for name in pool.tasks:
        tickets = [Ticket(f"pilot {name} {seed}", name, seed, str(seed), 0, 0) for seed in seeds]
        out[name] = float(np.mean([e.success for e in collect(policy, tickets, pool)]))
    pool.close()
    return out


def measure(folder: Path, scenes: int = 1600, episodes: int = 500, threads: int = 1) -> Skill:
    """Everything about the pilot in `folder`."""
    policy = Policy(ModelSettings(path=str(folder), threads=threads), LoraSettings())
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    drawn = held_out_scenes(scenes, np.random.default_rng(HELD_OUT))
    answers, undecided = answer(model.eval(), Batcher(processor), drawn)
    return Skill(answers, undecided, play(policy, episodes), episodes)
