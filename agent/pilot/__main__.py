"""`python -m agent.pilot`: rebuild the bundled model from nothing, measure it, and write its card."""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from agent.pilot import folder
from agent.pilot.build import save
from agent.pilot.card import write_card
from agent.pilot.measure import measure
from agent.pilot.train import Recipe, Trainer
from envs.component import UserError


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    usual = Recipe()
    parser = argparse.ArgumentParser(prog="python -m agent.pilot", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/pilot"), help="checkpoints; an interrupted run resumes")
    parser.add_argument("--out", type=Path, default=folder(), help="where the model is written (default: the bundled)")
    parser.add_argument("--steps", type=int, default=usual.steps, help="optimizer steps on questions")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of what makes bits repeat")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train, write, measure, tell."""
    given = parse(arguments)
    torch.set_num_threads(given.threads)
    recipe = Recipe(steps=given.steps, seed=given.seed)
    try:
        trainer = Trainer(recipe, given.work)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    trainer.run()
    save(trainer.model, trainer.processor, given.out)
    began = time.perf_counter()
    skill = measure(given.out, threads=given.threads)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    facts = {**asdict(recipe), "parameters": parameters, "threads": given.threads}
    print(write_card(given.out, skill, facts, trainer.seconds / 60))
    print(f"measured in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
