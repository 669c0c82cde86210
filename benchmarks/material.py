"""What both sides of a comparison learn from: rooms no side has seen, what was done there, and the same checkpoint."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from agent.batch import Sample
from agent.learner import Update
from agent.lesson import Lesson, Round
from agent.lvlm.adapters import CHAMPION
from agent.lvlm.checkpoint import pilot_folder
from agent.policy import Policy
from agent.rehearsal import Rehearsal
from benchmarks.policy import ACTIONS, rooms
from envs.component import load
from envs.types import IMAGE_MARK, Action, Choices, Episode, Observation, Reply, Step, StopReason
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import ReplayMemory

SAID = ACTIONS[:3]
"""What is done in stored episodes: three answers of three tokens, the end token included."""


class Peer:
    """The same checkpoint and the shape of the same adapters, by transformers and peft alone."""

    def __init__(self, policy: Policy) -> None:
        self.render = policy.prompter.render
        self.ids = policy.prompter.prompt
        self.model: Any = AutoModelForImageTextToText.from_pretrained(pilot_folder(), dtype=torch.float32)
        self.processor: Any = AutoProcessor.from_pretrained(pilot_folder())
        self.processor.tokenizer.padding_side = "left"
        lora = policy.adapters.settings
        modules = policy.adapters.peft.peft_config[CHAMPION].target_modules
        self.lora = LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, bias="none", target_modules=modules
        )

    def adapted(self) -> Any:
        """The model with its adapter, for those who don't add it themselves."""
        return get_peft_model(self.model, self.lora)

    def text(self, observation: Observation) -> str:
        """What the policy's prompt looks like as text."""
        return self.render(observation.text.split(IMAGE_MARK))

    def tokens(self, observations: Sequence[Observation]) -> dict[str, torch.Tensor]:
        """Ids, masks and pixels by the processor, padded on the left; it ends where they are not the policy's own."""
        out = self.processor(
            text=[self.text(o) for o in observations],
            images=[list(o.images) for o in observations],
            padding=True,
            return_tensors="pt",
        )
        ids = out["input_ids"][0][out["attention_mask"][0].bool()]
        if ids.tolist() != self.ids(observations[0]).ids.tolist():
            raise SystemExit("the peer is asked something else than the policy: the ratio would mean nothing")
        return dict(out)


def seen_rooms(rounds: int, count: int, first: int) -> list[list[Observation]]:
    """Rooms for each round and the one that is not counted, none twice."""
    return [rooms(count, first + number * count) for number in range(rounds + 1)]


def played(
    policy: Policy, observations: Sequence[Observation], choices: Choices, name: str, size: int = 2
) -> list[Episode]:
    """Episodes of one step in groups of `size`, each paid more than the one before; what is done there differs.

    Log-probs are those of the champion, which speaks.
    """
    samples = [
        Sample(seen, choices, policy.prompter.answer(SAID[(i + m) % len(SAID)]), np.zeros(3, np.float32))
        for i, seen in enumerate(observations)
        for m in range(size)
    ]
    with torch.no_grad():
        scores = policy.score(samples)
    episodes = []
    for n, sample in enumerate(samples):
        paid = scores.logprobs[n].numpy().copy() if choices is None else np.array([float(scores.sums[n]), 0, 0])
        mode = "open" if choices is None else "closed"
        text = policy.prompter.decode(sample.tokens)
        reply = Reply(text, sample.tokens, paid.astype(np.float32), mode)
        episodes.append(episode(sample.observation, choices, reply, float(n % size), f"{name}/{n // size}", n % size))
    return episodes


def episode(seen: Observation, choices: Choices, reply: Reply, reward: float, group: str, member: int) -> Episode:
    """An episode of one step."""
    action = Action(reply.text, reply.tokens, reply.logprobs, reply.mode, reply.text, True)
    step = Step(seen, choices, action, reward, 0.0, True, False, {})
    return Episode(
        f"{group}/{member}", "rooms", 0, group, member, 0, "", (step,), seen, StopReason.TERMINATED, reward > 0
    )  # fmt: skip


def remembered(folder: Path, episodes: Sequence[Sequence[Episode]]) -> tuple[ReplayMemory, list[list[str]]]:
    """A memory on disk that holds them, and their ids."""
    memory = ReplayMemory(Database(folder / "run.db"), HashEmbedder())
    for some in episodes:
        memory.add(some)
    return memory, [[e.id for e in some] for some in episodes]


def update_of(kind: str, **settings: Any) -> Update:
    """An update by its name, without rehearsal."""
    built: Update = load("agent.updates", {"type": kind, "rehearsal_weight": 0.0, **settings}, "update").build()
    return built


def run(update: Update, policy: Policy, rounds: Iterator[Sequence[Episode]], steps: int) -> None:
    """So many steps of a fresh candidate, which has seen no picture before and decided nothing yet."""
    policy.fork()
    policy.forget()

    def play(groups: int, size: int, review: float = 0.0) -> Round:
        return Round(next(rounds))

    taken = update.steps(Lesson(policy, play, Rehearsal([], None), np.random.default_rng(0)))
    for _ in range(steps):
        next(taken)
