"""A model's episodes do not depend, to the last bit, on where the worlds are played."""

from pathlib import Path

import numpy as np
import torch

from agent.lvlm.adapters import CHAMPION, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import Policy
from envs.collect import WorldPool, collect
from envs.multimodal import WorldSettings
from envs.types import Episode, Ticket

WORLDS = {
    "colours": {"kwargs": {"mode": "both", "length": 3}},
    "words": {"kwargs": {"length": 2, "words": ("red", "green", "a very long word")}},
    "remembered": {"kwargs": {"length": 4}, "history": 2},
}


def play(policy: Policy, workers: int) -> list[Episode]:
    worlds = {
        name: WorldSettings.model_validate({"id": "envs.copycat:Copycat-v0", "success": {"info": "success"}, **more})
        for name, more in WORLDS.items()
    }
    pool = WorldPool(worlds, workers)
    names = list(WORLDS)
    episodes = collect(policy, [Ticket(f"{i}", names[i % 3], i, "g", 0, 1) for i in range(30)], pool, width=10)
    pool.close()
    return episodes


def test_episodes_of_a_model_are_the_same_bits_with_any_number_of_workers(tiny_folder: Path) -> None:
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CHAMPION).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.3)
    here = play(policy, 0)
    assert len({step.action.text for episode in here for step in episode.steps}) > 3
    for workers in (1, 3):
        there = play(policy, workers)
        assert [e.stop for e in there] == [e.stop for e in here]
        for a, b in zip(here, there, strict=True):
            for s, t in zip(a.steps, b.steps, strict=True):
                assert s.observation.text == t.observation.text
                assert np.array_equal(s.action.tokens, t.action.tokens)
                assert s.action.logprobs.tobytes() == t.action.logprobs.tobytes()
