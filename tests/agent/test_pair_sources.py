"""Steps of a group that saw the very same, and the expert, as sources of pairs. For moves see `tests.agent.pairing`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.batch import sample_of
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.pairs import PairSettings
from agent.policy import Policy
from envs.component import UserError
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import MemorySettings, ReplayMemory
from tests.agent.pairing import LEFT, RIGHT, RNG, START, maker, played, told
from tests.memory.making import CHOICES, action, bits, episode, step

# -- steps ------------------------------------------------------------------------------------------------------------


def test_steps_by_hand() -> None:
    """Discount 0.5. a: start 0, left room 0 -> 4; b: start 1, left room 1 -> 0; c: start 1, left room 0 -> 2.

    Left room: 0 has (4 + 2) / 2 = 3, 1 has 0: margin 3. Start: 0 has 0.5 * 4 = 2, 1 has (0 + 0.5 * 2) / 2 = 0.5:
    margin 1.5. That is one pair for each two commands, however many steps gave them.
    """
    a = played("a", (START, 0, 0.0), (LEFT, 0, 4.0))
    b = played("b", (START, 1, 0.0), (LEFT, 1, 0.0))
    c = played("c", (START, 1, 0.0), (LEFT, 0, 2.0))
    pairs, metrics = maker("steps", discount=0.5).make([a, b, c])
    assert told(pairs) == [("<image>start", CHOICES[0], CHOICES[1], 1.5), ("left room", CHOICES[0], CHOICES[1], 3.0)]
    assert {p.source for p in pairs} == {"steps/returns"}
    assert metrics["pairs_steps"] == 2
    assert metrics["agreement"] == 1.0


def test_steps_find_what_no_parting_shows() -> None:
    """a and b part at the start and meet again in the left room, where a's answer is better by 1."""
    a = played("a", (START, 0, 0.0), (LEFT, 0, 1.0))
    b = played("b", (START, 1, 0.0), (RIGHT, 2, 0.0), (LEFT, 1, 0.0))
    assert ("left room", CHOICES[0], CHOICES[1], 1.0) in told(maker("steps", discount=1.0).make([a, b])[0])
    assert all(p.observation is START for p in maker("parting").make([a, b])[0])


def test_steps_of_other_groups_or_tasks_are_not_compared() -> None:
    a = played("a", (START, 0, 1.0), group="g")
    b = played("b", (START, 1, 0.0), group="h")
    c = played("c", (START, 1, 0.0), group="g", task="another")
    assert maker("steps").make([a, b, c])[0] == []


def test_one_command_in_two_wordings_is_one_command() -> None:
    """0 said in two ways: 1 and 3, mean 2; 1 has 0. One pair, by 2; the first wording is as near to the mean."""
    said = [action("turn left", 0), action("left!", 0), action("turn right", 1)]
    episodes = [
        episode(f"{i}", RNG, steps=(step(START, action=a, reward=r),))
        for i, (a, r) in enumerate(zip(said, (1.0, 3.0, 0.0), strict=True))
    ]
    pairs, _ = maker("steps").make(episodes)
    assert told(pairs) == [("<image>start", "turn left", "turn right", 2.0)]


def test_steps_by_an_annotator() -> None:
    a, b = (played(f"{i}", (START, i, float(i)), info={"expert": CHOICES[0]}) for i in (0, 1))
    pairs, metrics = maker("steps", annotator={"type": "oracle"}).make([a, b])
    assert told(pairs) == [("<image>start", CHOICES[0], CHOICES[1], 1.0)]
    assert pairs[0].source == "steps/oracle"
    assert metrics["agreement"] == 0.0


# -- expert -----------------------------------------------------------------------------------------------------------


def test_expert_by_hand() -> None:
    """The expert turns left everywhere: nothing to say at the start, a pair in the left room, encoded."""
    played_one = played("a", (START, 0, 0.0), (LEFT, 2, 0.0), info={"expert": "Turn left"}, cycle=4)
    pairs, metrics = maker("expert", least_margin=5.0).make([played_one])
    assert told(pairs) == [("left room", "turn left", "go forward", 1.0)]
    (pair,) = pairs
    assert (pair.source, pair.cycle, pair.reference_logprobs) == ("expert", 4, None)
    assert (pair.chosen.command, pair.chosen.readable, pair.chosen.mode) == (0, True, "closed")
    assert pair.chosen.tokens.tolist() == list(b"turn left")
    assert np.isnan(pair.chosen.logprobs).all()
    assert pair.rejected is played_one.steps[1].action
    assert metrics["dropped_same"] == 1
    assert "agreement" not in metrics


def test_the_expert_in_open_answers() -> None:
    """Any text may be said: the words are compared. Behind a thought, the expert has no answer to put beside it."""
    open_ = {"choices": None, "info": {"expert": "a red ball"}}
    steps = [
        step(LEFT, action=action("A red ball.", "A red ball.", mode="open"), **open_),
        step(RIGHT, action=action("a key", "a key", mode="open"), **open_),
        step(START, action=action("</think> a key", 3, mode="open"), **open_),
        step(START, action=action("hm", None, mode="open", readable=False), choices=None),
    ]
    pairs, metrics = maker("expert").make([episode("a", RNG, steps=tuple(steps))])
    assert told(pairs) == [("right room", "a red ball", "a key", 1.0)]
    assert (metrics["dropped_same"], metrics["dropped_thought"]) == (1, 1)


def test_a_world_that_does_not_tell_its_expert() -> None:
    with pytest.raises(UserError, match=r"pairs.sources has expert.*info\['expert'\].*leave expert out"):
        maker("expert").make([played("a", (START, 0, 0.0))])
    with pytest.raises(UserError, match=r"'fly', which may not be said there \(allowed: turn left, turn right"):
        maker("expert").make([played("a", (START, 0, 0.0), info={"expert": "fly"})])


def test_an_experts_pair_is_remembered(tmp_path: Path) -> None:
    """It has no reference until one has scored it, and survives storage to the last bit, NaN included."""
    pairs, _ = maker("expert").make([played("a", (START, 1, 0.0), info={"expert": CHOICES[0]})])
    with Database(tmp_path / "run.db") as database:
        memory = ReplayMemory(database, HashEmbedder(32), MemorySettings(capacity=6))
        assert memory.add_pairs(pairs) == 1
        assert bits(list(memory.pairs())) == bits(pairs)
        assert memory.add_pairs([replace(pairs[0], reference_logprobs=(-1.0, -2.0))]) == 0


def test_the_policy_can_score_the_experts_answer(tiny_folder: Path) -> None:
    """With the policy's own tokens, closed and open; the closed scores are those of its table."""
    policy = Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4))
    make = PairSettings(sources=("expert",)).build(lambda text, choices: policy.prompter.answer(text)).make
    tokens = policy.prompter.answer(CHOICES[1])
    closed = replace(action(CHOICES[1], 1), tokens=tokens)
    open_ = replace(action(CHOICES[1], CHOICES[1], mode="open"), tokens=tokens)
    for said, choices in ((closed, CHOICES), (open_, None)):
        seen = step(LEFT, action=said, choices=choices, info={"expert": CHOICES[0]})
        (pair,), _ = make([episode("a", RNG, steps=(seen,))])
        samples = (sample_of(LEFT, choices, pair.chosen), sample_of(LEFT, choices, pair.rejected))
        with torch.no_grad():
            scores = policy.score(samples).sums.tolist()
        assert all(map(np.isfinite, scores))
        if choices:
            table = policy.table(LEFT, choices)
            assert np.exp(scores) == pytest.approx([table[CHOICES[0]], table[CHOICES[1]]], abs=1e-5)
