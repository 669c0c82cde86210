"""The training itself: tiles first, then questions and instructions. Kept in a work folder, and resumed from it."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

from agent.pilot.batch import Batcher, Pointer, answer_logits, features
from agent.pilot.build import build_model, build_processor
from agent.pilot.figures import FIGURES, unsure_scene
from agent.pilot.questions import Rng, Scene, random_pose, random_room, room_scene
from envs.component import UserError
from envs.rooms import AGENT, COLOURS, FIRST_THING, KINDS, VIEW, WALL, picture, tiles

KIND_WORDS = (*KINDS, "nothing", "wall", "you")
SIDES = ("left", "ahead", "right")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the pilot is trained.

    Attributes:
        steps: optimizer steps on questions, the first `early` of them without instructions; the rate rises over
            `warm_up` steps and falls over the last `cool_down` of them.
        late: share of the steps after which instructions come that stay unsure: what is to be doubted is learned first.
        tile_steps: steps on tile labels before.
        batch: pictures a step.
        rate: of AdamW.
        pointing: weight of the loss that shows the words their tiles.
        keep_every: steps between checkpoints.
    """

    steps: int = 4250
    early: int = 400
    warm_up: int = 100
    cool_down: float = 0.35
    late: float = 0.65
    tile_steps: int = 200
    batch: int = 32
    rate: float = 2e-3
    pointing: float = 1.0
    seed: int = 0
    keep_every: int = 250


def learning_rate(recipe: Recipe, step: int) -> float:
    """Up, level, down."""
    left = (recipe.steps - step) / (recipe.cool_down * recipe.steps)
    return recipe.rate * min(1.0, (step + 1) / recipe.warm_up, max(left, 0.01))


def draw_scenes(rng: Rng, recipe: Recipe, step: int) -> list[Scene]:
    """The mix. Early, mostly questions about rooms, until words bind to things; then instructions and figures; late,
    instructions that stay unsure."""
    names = tuple(FIGURES)
    weights = [weight for _, weight in FIGURES.values()]
    early, late = step < recipe.early, step >= recipe.late * recipe.steps
    rooms, unsure = (0.84, 0.0) if early else (0.5, 0.12) if late else (0.62, 0.0)
    scenes = []
    for draw in rng.random(recipe.batch):
        if draw < rooms:
            scenes.append(room_scene(rng, asked=8 if early else 5, acts=0 if early else 3))
        elif draw < rooms + unsure:
            scenes.append(unsure_scene(rng))
        else:
            scenes.append(FIGURES[names[int(rng.choice(len(names), p=weights))]][0](rng, 5))
    return scenes


def by_length(scenes: list[Scene]) -> list[list[Scene]]:
    """Two halves of similar length, so that little is padded."""
    order = sorted(scenes, key=lambda scene: sum(len(q.text) + len(q.answer) for q in scene.questions))
    half = len(order) // 2
    return [part for part in (order[:half], order[half:]) if part]


# -- tiles ------------------------------------------------------------------------------------------------------------


class TileReader(torch.nn.Module):
    """How well each image token tells its tile: kind, colour and side of the agent by pointing at those words'
    embeddings (the tower learns to speak the words' own space, so that words find tiles), row and column by two heads
    that are thrown away."""

    def __init__(self, model: Idefics3ForConditionalGeneration, tokenizer: Any) -> None:
        super().__init__()
        hidden = model.config.text_config.hidden_size
        self.row, self.column = torch.nn.Linear(hidden, VIEW), torch.nn.Linear(hidden, VIEW)
        ids = {w: tokenizer(f" {w}", add_special_tokens=False)["input_ids"][0] for w in (*KIND_WORDS, *COLOURS, *SIDES)}
        self.kinds, self.colours, self.sides = ([ids[w] for w in ws] for ws in (KIND_WORDS, COLOURS, SIDES))

    def loss(self, model: Idefics3ForConditionalGeneration, rng: Rng, count: int) -> torch.Tensor:
        """Sum of the cross-entropies in nats; tiles without a thing count little."""
        codes = []
        for _ in range(count):
            layout = random_room(rng)
            codes.append(tiles(layout, random_pose(rng, layout)))
        pixels = (
            torch.from_numpy(np.stack([picture(c) for c in codes])).permute(0, 3, 1, 2)[:, None].float() / 127.5 - 1
        )
        seen = features(model, pixels).flatten(0, 1)
        labels = torch.from_numpy(np.concatenate(codes))
        place = torch.arange(VIEW * VIEW).repeat(count)
        thing = labels >= FIRST_THING
        plain = torch.where(labels == WALL, 1, torch.where(labels == AGENT, 2, 0)) + len(KINDS)
        kind = torch.where(thing, (labels - FIRST_THING) // len(COLOURS), plain)
        words = model.get_input_embeddings().weight
        weight = torch.where(thing, 1.0, 0.05) / (thing + 0.05 * ~thing).sum()
        total = _entropy(seen[thing] @ words[self.colours].T, (labels[thing] - FIRST_THING) % len(COLOURS)).mean()
        for scores, wanted in (
            (seen @ words[self.kinds].T, kind),
            (seen @ words[self.sides].T, (place % VIEW - VIEW // 2).sign() + 1),
            (self.row(seen), place // VIEW),
            (self.column(seen), place % VIEW),
        ):
            total = total + (_entropy(scores, wanted) * weight).sum()
        return total


def _entropy(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(scores, wanted, reduction="none")


# -- the loop ---------------------------------------------------------------------------------------------------------


class Trainer:
    """Holds the model and its optimizer; `run` goes on from where the work folder stands."""

    def __init__(self, recipe: Recipe, work: Path) -> None:
        self.recipe, self.work = recipe, work
        self.processor: Idefics3Processor = build_processor()
        self.model = build_model(self.processor, recipe.seed)
        self.batcher = Batcher(self.processor)
        self.pointer = Pointer(self.model)
        self.pointing = 0.0
        self.reader = TileReader(self.model, self.processor.tokenizer)
        self.optimizer = torch.optim.AdamW(
            [*self.model.parameters(), *self.reader.parameters()], lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step = -recipe.tile_steps
        self.seconds = 0.0
        work.mkdir(parents=True, exist_ok=True)
        if (work / "checkpoint.pt").is_file():
            self._load()

    def _load(self) -> None:
        kept = torch.load(self.work / "checkpoint.pt", weights_only=True)
        if kept["recipe"] != asdict(self.recipe):
            raise UserError(f"--work {self.work} holds a run of another recipe, {kept['recipe']}. Give another folder.")
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.reader.load_state_dict(kept["reader"])
        self.step, self.seconds = kept["step"], kept["seconds"]

    def keep(self) -> None:
        """Write the checkpoint, whole or not at all."""
        aside = self.work / "checkpoint.part"
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["reader"] = self.reader.state_dict()
        torch.save({**state, "step": self.step, "seconds": self.seconds, "recipe": asdict(self.recipe)}, aside)
        os.replace(aside, self.work / "checkpoint.pt")

    def run(self) -> None:
        """Train until `recipe.steps`. Every step's data come from a generator of its own: resuming changes nothing."""
        losses: list[float] = []
        while self.step < self.recipe.steps:
            began = time.process_time()
            losses.append(self._update(np.random.default_rng([self.recipe.seed, self.step + self.recipe.tile_steps])))
            self.step += 1
            self.seconds += time.process_time() - began
            if self.step % 50 == 0:
                self._log(
                    {
                        "step": self.step,
                        "loss": round(float(np.mean(losses[-50:])), 4),
                        "pointing": round(self.pointing / 50, 4),
                    }
                )
                self.pointing = 0.0
            if self.step % self.recipe.keep_every == 0:
                self.keep()
        self.keep()

    def _update(self, rng: Rng) -> float:
        rate = self.recipe.rate if self.step < 0 else learning_rate(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        told = self._learn_tiles(rng) if self.step < 0 else self._learn_answers(rng)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return told

    def _learn_tiles(self, rng: Rng) -> float:
        loss = self.reader.loss(self.model, rng, 2 * self.recipe.batch)
        loss.backward()
        return float(loss.detach())

    def _learn_answers(self, rng: Rng) -> float:
        """Gradient of the cross-entropy in nats, mean over answer tokens."""
        scenes = draw_scenes(rng, self.recipe, self.step)
        batches = [self.batcher(part) for part in by_length(scenes)]
        total, told = sum(len(batch.targets) for batch in batches), 0.0
        pointed = sum(batch.points.shape[1] for batch in batches)
        for batch in batches:
            loss = torch.nn.functional.cross_entropy(answer_logits(self.model, batch), batch.targets, reduction="sum")
            points = batch.points.shape[1]
            pointing = self.pointer.loss(batch, len(self.batcher.picture)) * (points / pointed) if points else 0.0
            (loss / total + self.recipe.pointing * pointing).backward()
            self.pointing += float(torch.as_tensor(pointing).detach())
            told += float(loss.detach()) / total
        return told

    def _log(self, row: dict[str, Any]) -> None:
        row["minutes"] = round(self.seconds / 60, 1)
        print(json.dumps(row), flush=True)
        with (self.work / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
