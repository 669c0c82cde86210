"""Pictures that make an answer wrong: what an image-conditional preference compares the right picture with.

Told apart only by its picture, an answer can't be learned from the text alone (mDPO, arXiv 2406.11839).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from agent.lesson import Lesson
from envs.types import Action, Episode, Observation
from memory.preferences import PreferencePair

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Kind = Literal["retrieved", "other", "crop", "noise"]
"""`retrieved`: the most similar remembered observation to which the answer is wrong (rDPO, after arXiv 2502.13146);
`other`: of another pair, with another answer; `crop`: a small part of the picture (mDPO); `noise` (POVID, arXiv
2402.11411)."""

CROP = (0.05, 0.2)
NOISE = 0.2
"""Share of the signal's variance that noise leaves."""


def wrong_observations(kind: Kind, pairs: Sequence[PreferencePair], lesson: Lesson) -> list[Observation | None]:
    """For each pair its observation with another picture, or None where there is none to be had."""
    seen = [pair.observation for pair in pairs]
    if kind == "retrieved":
        found = lesson.alike(seen, [pair.chosen.text for pair in pairs])
        return [with_pictures(o, other) if other is not None else None for o, other in zip(seen, found, strict=True)]
    if kind == "other":
        return _others(pairs, lesson.rng)
    change = cropped if kind == "crop" else noised
    return [with_changed(o, change, lesson.rng) if o.images else None for o in seen]


def with_pictures(observation: Observation, other: Observation) -> Observation | None:
    """The same text with the pictures of another observation, if it has as many."""
    if not observation.images or len(observation.images) != len(other.images):
        return None
    return Observation(observation.text, other.images)


def with_changed(observation: Observation, change: Change, rng: np.random.Generator) -> Observation:
    """The same text with every picture changed."""
    return Observation(observation.text, tuple(change(image, rng) for image in observation.images))


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random part of 5 to 20 % of the picture, blown up to its size: uint8 `[H, W, 3]`."""
    height, width = image.shape[:2]
    scale = float(np.sqrt(rng.uniform(*CROP)))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part = image[top : top + rows, left : left + columns]
    return part[np.arange(height) * rows // height][:, np.arange(width) * columns // width]


def noised(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture drowned in Gaussian noise, as a diffusion would do it: uint8 `[H, W, 3]`."""
    signal = image.astype(np.float32) / 127.5 - 1
    mixed = np.sqrt(NOISE) * signal + np.sqrt(1 - NOISE) * rng.standard_normal(image.shape, dtype=np.float32)
    return ((mixed.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def noised_pairs(lesson: Lesson, episodes: Sequence[Episode], count: int) -> list[PreferencePair]:
    """Pairs of what won against what the candidate says of the picture drowned in noise (POVID).

    Args:
        count: steps of successful episodes that are tried, at most; where both answers agree there is no pair.
    """
    steps = [(e, s) for e in episodes if e.success for s in e.steps if s.observation.images and s.action.readable]
    if not steps:
        return []
    picked = lesson.rng.permutation(len(steps))[:count].tolist()
    drowned = [with_changed(steps[i][1].observation, noised, lesson.rng) for i in picked]
    rngs = [np.random.default_rng(seed) for seed in lesson.rng.integers(2**63, size=len(picked)).tolist()]
    replies = lesson.policy.act(drowned, [steps[i][1].choices for i in picked], rngs)
    pairs = []
    for i, reply in zip(picked, replies, strict=True):
        episode, step = steps[i]
        if reply.text == step.action.text or reply.mode != step.action.mode:
            continue
        said = Action(reply.text, reply.tokens, reply.logprobs, reply.mode, None, True)
        about = ("noised", None, episode.task, episode.cycle, (episode.id,))
        pairs.append(PreferencePair(step.observation, step.choices, step.action, said, 1.0, *about))
    return pairs


def _others(pairs: Sequence[PreferencePair], rng: np.random.Generator) -> list[Observation | None]:
    """For each pair a random other one's picture that asks for another answer; None where none was met."""
    order = rng.permutation(len(pairs)).tolist()
    out: list[Observation | None] = []
    for pair in pairs:
        start = int(rng.integers(len(order)))
        turned = (pairs[order[(start + n) % len(order)]] for n in range(min(8, len(order))))
        other = next((p.observation for p in turned if p.chosen.text != pair.chosen.text and _differ(p, pair)), None)
        out.append(with_pictures(pair.observation, other) if other is not None else None)
    return out


def _differ(a: PreferencePair, b: PreferencePair) -> bool:
    """Whether their pictures do: one observation may be asked for two answers."""
    ours, theirs = a.observation.images, b.observation.images
    return len(ours) == len(theirs) and not all(map(np.array_equal, ours, theirs))
