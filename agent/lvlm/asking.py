"""Observations, allowed answers and samples -> the rows that ask the model about them."""

from collections.abc import Sequence

import numpy as np

from agent.batch import Sample
from agent.lvlm.choices import ChoiceTree, build_tree, share
from agent.lvlm.prompts import Prompter
from agent.lvlm.rows import Row
from agent.lvlm.vision import Vision
from envs.types import Choices, Observation

Place = tuple[int, list[int] | None]
"""A sample's row, and the places there at which its tokens are predicted; None for all."""
NOTHING: tuple[np.ndarray, tuple[int, ...]] = (np.zeros(0, dtype=np.int64), ())


class Asking:
    """Makes rows, and the trees of closed sets, each once."""

    def __init__(self, prompter: Prompter, vision: Vision) -> None:
        self.prompter = prompter
        self.vision = vision
        self._trees: dict[tuple[str, ...], ChoiceTree] = {}

    def tree(self, choices: tuple[str, ...]) -> ChoiceTree:
        tree = self._trees.get(choices)
        if tree is None:
            tree = self._trees[choices] = build_tree(choices, [self.prompter.answer(text) for text in choices])
        return tree

    def by_tree(self, choices: Sequence[Choices]) -> list[tuple[ChoiceTree, list[int]]]:
        groups: dict[tuple[str, ...], list[int]] = {}
        for i, c in enumerate(choices):
            if c is not None:
                groups.setdefault(c, []).append(i)
        return [(self.tree(c), members) for c, members in groups.items()]

    def rows(self, observations: Sequence[Observation], choices: Sequence[Choices]) -> list[Row]:
        """One row each; closed ones with the tokens behind the prompt at which something is decided."""
        rows = []
        prompts = [self.prompter.prompt(observation) for observation in observations]
        pictures = self.vision.pictures([observation.images for observation in observations])
        for prompt, seen, allowed in zip(prompts, pictures, choices, strict=True):
            behind = NOTHING if allowed is None else (self.tree(allowed).appended, self.tree(allowed).parents)
            rows.append(Row(prompt, seen, *behind))
        return rows

    def rows_of_samples(self, samples: Sequence[Sample], most_tokens: int) -> tuple[list[Row], list[Place]]:
        """Rows that score `samples`: those that ask the same share one, so that its prompt is run once.

        Args:
            samples: closed ones of one prompt and set share their row; open ones of one prompt share a tree.
            most_tokens: more never stand in one shared row.

        Returns:
            The rows, and each sample's place.
        """
        plain = self.rows([s.observation for s in samples], [s.choices for s in samples])
        asked: dict[tuple[bytes, Choices], list[int]] = {}
        for i, (row, sample) in enumerate(zip(plain, samples, strict=True)):
            asked.setdefault((row.key, sample.choices), []).append(i)
        rows: list[Row] = []
        places: dict[int, Place] = {}
        for (_, choices), members in asked.items():
            row = plain[members[0]]
            if choices is not None:
                places |= {i: (len(rows), None) for i in members}
                rows.append(row)
                continue
            room = max(1, (most_tokens - len(row)) // max(len(samples[i].tokens) for i in members))
            for some in (members[at : at + room] for at in range(0, len(members), room)):
                # the last token predicts nothing and stays out
                ids, parents, ways = share([samples[i].tokens[:-1] for i in some])
                places |= {i: (len(rows), [0, *(n + 1 for n in way)]) for i, way in zip(some, ways, strict=True)}
                rows.append(Row(row.prompt, row.pictures, ids, parents))
        return rows, [places[i] for i in range(len(samples))]
