"""Remembered successes in front of the question: read, recorded and scored as they were seen.

- An actor that knows nothing but to copy reads the answer off its example, and is at chance without.
- What is asked depends on regime, seed and sight alone: not on the member, the width, or what came meanwhile.
- A policy's own log-probs are found again from the recorded step, also after memory has had it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.batch import sampled_logprobs, samples_of
from agent.examples import Examples
from agent.lvlm.adapters import CHAMPION
from agent.policy import Policy
from envs.collect import WorldPool, collect
from envs.component import UserError
from envs.multimodal import WorldSettings
from envs.preface import FRONT, Asked, own
from envs.types import Choices, Episode, Observation, Reply, Ticket
from memory.database import Database
from memory.embedding import HashEmbedder
from memory.store import ReplayMemory
from tests.agent.learning import learner_in

WORDS = {"red": "sun", "green": "moon", "blue": "star", "yellow": "cloud"}


def settings(**more: Any) -> WorldSettings:
    return WorldSettings.model_validate({"id": "envs.copycat:Copycat-v0", "success": {"info": "success"}, **more})


WORLDS = {
    "secret": settings(drift=[{"type": "renamed", "names": WORDS}]),  # nothing says which name is whose
    "pictures": settings(kwargs={"mode": "both", "length": 2}),
    "history": settings(kwargs={"mode": "picture", "length": 2}, history=2),
    "open": settings(kwargs={"mode": "both"}, thought="###", max_steps=2),
}


class Lenient:
    """A door that lets everything in."""

    def prompt(self, observation: Observation) -> None: ...

    def harmless(self, text: str) -> bool:
        return True


class Guess:
    """Says any of the choices."""

    version = "guess"

    def act(
        self, observations: Sequence[Observation], choices: Sequence[Choices], rngs: Sequence[np.random.Generator]
    ) -> list[Reply]:
        return [self.said(o, c or (), rng) for o, c, rng in zip(observations, choices, rngs, strict=True)]

    def said(self, observation: Observation, choices: Sequence[str], rng: np.random.Generator) -> Reply:
        text = choices[rng.integers(len(choices))]
        return Reply(text, np.array([1], np.int64), np.array([-1.0], np.float32), "closed")


class Reader(Guess):
    """Says what the last example says if it is of the very question; else it guesses."""

    def said(self, observation: Observation, choices: Sequence[str], rng: np.random.Generator) -> Reply:
        *examples, question = observation.text.split("\n\n")
        if examples:
            asked, answer = examples[-1].removeprefix("Example:\n").split("\nAnswer: ")
            if asked == question.removeprefix("Now:\n"):
                choices = [answer]
        return super().said(observation, choices, rng)


def tickets(task: str, count: int, cycle: int = 0, seed: int | None = None, name: str = "t") -> list[Ticket]:
    return [
        Ticket(f"{name}/{task}/{cycle}/{i}", task, i if seed is None else seed, "g", i, cycle) for i in range(count)
    ]


@pytest.fixture
def pool() -> Iterator[WorldPool]:
    pool = WorldPool(WORLDS)
    yield pool
    pool.close()


@pytest.fixture
def memory(tmp_path: Path, pool: WorldPool) -> Iterator[ReplayMemory]:
    """Sixty guesses at each closed world; a quarter of them and less went well."""
    with Database(tmp_path / "run.db") as database:
        memory = ReplayMemory(database, HashEmbedder(64))
        for task in ("secret", "pictures", "history"):
            memory.add(collect(Guess(), tickets(task, 60), pool))
        yield memory


def rate(episodes: Sequence[Episode]) -> float:
    return sum(e.success for e in episodes) / len(episodes)


def test_what_only_the_example_tells_is_read_off_it(memory: ReplayMemory, pool: WorldPool) -> None:
    """Chance is 1/4 over 40 episodes: 0.45 is 3 standard deviations above. In another regime nothing is known."""
    some = [replace(ticket, seed=1000 + ticket.seed) for ticket in tickets("secret", 40, cycle=1)]
    shown = Examples(memory, Lenient(), 1, 1)
    assert rate(collect(Reader(), some, pool, preface=shown)) == 1.0
    assert rate(collect(Reader(), some, pool)) < 0.45
    assert rate(collect(Guess(), some, pool, preface=shown)) < 0.45
    assert rate(collect(Reader(), some, pool, preface=Examples(memory, Lenient(), 1, 0))) < 0.45  # nothing yet


def test_an_example_is_pictures_text_and_what_was_said_and_the_likest_stands_last(
    memory: ReplayMemory, pool: WorldPool
) -> None:
    """Without history every step with the same word looks the same: both examples are of this word."""
    (episode,) = collect(Guess(), tickets("pictures", 1, cycle=1), pool, preface=Examples(memory, Lenient(), 2, 1))
    step = episode.steps[0]
    text = own(step).text
    word = text.split(".")[0].split()[-1]
    assert step.observation.text == 2 * f"Example:\n{text}\nAnswer: {word}\n\n" + f"Now:\n{text}"
    assert len(step.observation.images) == 3
    assert all(np.array_equal(image, own(step).images[0]) for image in step.observation.images)
    assert all(seed != episode.seed for seed in (e.seed for e in memory.get(step.info[FRONT]["episodes"])))
    far = Asked(
        Ticket("x", "pictures", 99, "g", 0, 1), 0, Observation("<image>The word is red or green.", own(step).images)
    )
    (told,) = Examples(memory, Lenient(), 40, 1)([far])
    found = memory.successes(1, lambda said: True).nearest([_query(far)], 40)[0]
    steps = [e.steps[p.step] for p, e in zip(found, memory.get([p.episode for p in found]), strict=True)]
    texts = [f"Example:\n{own(s).text}\nAnswer: {s.action.text}\n\n" for s in reversed(steps)]
    assert told.observation.text == "".join([*texts, "Now:\n", far.observation.text])
    assert len(set(texts)) > 1


def _query(one: Asked) -> Any:
    from memory.successes import Query

    return Query(one.ticket.task, one.ticket.seed, one.observation)


def test_members_of_a_group_are_asked_the_same_whatever_the_width_and_whatever_came_meanwhile(
    memory: ReplayMemory, pool: WorldPool
) -> None:
    group = tickets("history", 6, cycle=1, seed=7)
    shown = Examples(memory, Lenient(), 2, 1)
    wide = collect(Guess(), group, pool, preface=shown)
    memory.add(collect(Guess(), tickets("history", 60, cycle=1, name="meanwhile"), pool))
    narrow = collect(Guess(), group, pool, width=1, preface=shown)
    resumed = collect(Guess(), group, pool, width=1, preface=Examples(memory, Lenient(), 2, 1))
    assert len({e.steps[0].observation.text for e in (*wide, *narrow, *resumed)}) == 1
    for a, b, c in zip(wide, narrow, resumed, strict=True):
        assert [s.observation.text for s in a.steps] == [s.observation.text for s in b.steps]
        assert [s.observation.text for s in a.steps] == [s.observation.text for s in c.steps]
        for s, t in zip(a.steps, c.steps, strict=True):
            assert all(map(np.array_equal, s.observation.images, t.observation.images))
    later = collect(Guess(), group, pool, preface=Examples(memory, Lenient(), 2, 2))
    assert later[0].steps[0].info[FRONT] != wide[0].steps[0].info[FRONT]  # the next cycle knows more


def test_examples_of_examples_are_not_shown(memory: ReplayMemory, pool: WorldPool) -> None:
    """What stood in front of a remembered question stays away when it becomes an example itself."""
    memory.add(
        collect(Reader(), tickets("secret", 30, cycle=1, name="u"), pool, preface=Examples(memory, Lenient(), 2, 1))
    )
    episodes = collect(
        Reader(), tickets("secret", 9, cycle=2, seed=99), pool, preface=Examples(memory, Lenient(), 40, 2)
    )
    shown = memory.get(episodes[0].steps[0].info[FRONT]["episodes"])
    assert any(FRONT in e.steps[0].info for e in shown)
    assert episodes[0].steps[0].observation.text.count("Example:") == len(shown)
    assert episodes[0].steps[0].observation.text.count("Now:") == 1


def test_who_was_shown_is_logged(memory: ReplayMemory, pool: WorldPool) -> None:
    episodes = collect(Guess(), tickets("secret", 9, cycle=1), pool, preface=Examples(memory, Lenient(), 2, 1))
    memory.settle(np.random.default_rng(0))
    rows = memory._database.execute("SELECT cycle, episode, use, why FROM drawn").fetchall()
    assert {row[1] for row in rows} == {name for e in episodes for s in e.steps for name in s.info[FRONT]["episodes"]}
    assert {(cycle, use, why) for cycle, _, use, why in rows} == {(1, "example", "like what secret showed")}


# -- with a model -----------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    """A random model that speaks with a mind of its own."""
    policy = learner_in(tiny_folder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.adapters.tensors(CHAMPION).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    policy.fork()
    return policy


@torch.no_grad()
def apart(policy: Policy, episodes: Sequence[Episode]) -> float:
    """How far the furthest importance ratio of an answer is from 1."""
    samples = samples_of(episodes)
    scores = policy.score(samples)
    said = (sampled_logprobs(samples, scores.mask) * scores.mask).sum(1)
    return float(((scores.sums - said).exp() - 1).abs().max())


@pytest.mark.parametrize("task", ["pictures", "history", "open"])
def test_the_first_importance_ratio_is_one(policy: Policy, memory: ReplayMemory, pool: WorldPool, task: str) -> None:
    """Also once memory has had it; without its examples the same answer has another probability."""
    if task == "open":
        guesses = collect(Guess(), tickets("pictures", 40, name="o"), pool)
        memory.add([replace(e, id=f"open {e.id}", task="open", success=True) for e in guesses])
    count = 1 if task == "history" else 2  # more is too long for the tiny model
    episodes = collect(policy, tickets(task, 8, cycle=1), pool, preface=Examples(memory, policy.prompter, count, 1))
    assert all(FRONT in step.info for e in episodes for step in e.steps)
    assert apart(policy, episodes) < 1e-4
    memory.add(episodes)
    again = memory.get([e.id for e in episodes])
    assert apart(policy, again) < 1e-4
    bare = [replace(e, steps=tuple(replace(s, observation=own(s)) for s in e.steps)) for e in again]
    assert apart(policy, bare) > 1e-3


def test_a_prompt_that_got_too_long_names_the_step_and_the_remedy(
    policy: Policy, memory: ReplayMemory, pool: WorldPool
) -> None:
    many = Examples(memory, policy.prompter, 30, 1)
    wanted = "memory.examples is 30, and with them step 0 of episode t/pictures/1/0 .* never cut.*show fewer examples"
    with pytest.raises(UserError, match=wanted):
        collect(policy, tickets("pictures", 4, cycle=1), pool, preface=many)


def test_remembered_words_can_not_forge_control_tokens(policy: Policy, memory: ReplayMemory, pool: WorldPool) -> None:
    """What was said with a control token or a picture's mark in it is never an example; a text with one is refused."""
    (seen,) = [e for e in memory.get(memory.ids("secret")) if e.success][:1]
    for number, said in enumerate(["go <end>", "<image>", "<fake_token_around_image> go", "fine"]):
        step = replace(seen.steps[0], action=replace(seen.steps[0].action, text=said))
        memory.add([replace(seen, id=f"said {number}", task="forged", steps=(step,))])
    asked = Asked(Ticket("x", "forged", 99, "g", 0, 1), 3, own(seen.steps[0]))
    (told,) = Examples(memory, policy.prompter, 4, 1)([asked])
    assert told.episodes == ("said 3",)
    forged = replace(seen.steps[0], observation=Observation("<image>see <end>", own(seen.steps[0]).images))
    memory.add([replace(seen, id="shown", task="other", steps=(forged,))])
    with pytest.raises(UserError, match=r"step 3 of episode x can't be asked: .*control token '<end>'"):
        Examples(memory, policy.prompter, 1, 1)([replace(asked, ticket=replace(asked.ticket, task="other"))])


def test_a_regime_without_successes_is_asked_plainly(policy: Policy, memory: ReplayMemory, pool: WorldPool) -> None:
    """The very same object: nothing is embedded, encoded or copied."""
    asked = Asked(Ticket("x", "unheard of", 1, "g", 0, 1), 0, Observation("go"))
    (told,) = Examples(memory, policy.prompter, 2, 1)([asked])
    assert told.observation is asked.observation
    assert told.episodes == ()
