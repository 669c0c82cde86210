"""Open answers: how they end, under which temperature they are said and scored, and what the world hears of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from agent.batch import Sample
from agent.finite import NotFinite
from agent.lvlm.adapters import LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.lvlm.speech import Speaker, Speech, draw
from agent.policy import Policy
from envs.types import Observation, Reply

ASKED = [Observation(f"say the word {'red ' * i}") for i in range(8)]


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return Policy(ModelSettings(path=str(tiny_folder), threads=1), LoraSettings(rank=4), speech=Speech(longest=12))


def speak(policy: Policy, speech: Speech) -> None:
    """Say and score by other rules from now on."""
    policy.speaker = policy.scorer.speaker = Speaker(policy.engine, policy.prompter, policy.banned, speech)


def say(policy: Policy, speech: Speech) -> list[Reply]:
    speak(policy, speech)
    return policy.act(ASKED, [None] * len(ASKED), [np.random.default_rng(i) for i in range(len(ASKED))])


def scored(policy: Policy, replies: list[Reply]) -> list[np.ndarray]:
    samples = [Sample(o, None, r.tokens, r.logprobs) for o, r in zip(ASKED, replies, strict=True)]
    with torch.no_grad():
        rows = policy.score(samples).logprobs
    return [row[: len(r.tokens)].numpy() for row, r in zip(rows, replies, strict=True)]


def test_an_answer_has_at_most_its_length(policy: Policy) -> None:
    assert max(len(reply.tokens) for reply in say(policy, Speech(longest=3))) == 3


def test_what_is_asked_by_many_is_read_once_and_who_has_ended_is_not_gone_on_with(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three questions of eight members each: three prompts are run, then a token of those alone that still speak."""
    rows: list[int] = []
    body = policy.engine.whole.body
    run = type(body).forward
    monkeypatch.setattr(body, "forward", lambda **given: rows.append(len(given["input_ids"])) or run(body, **given))
    asked = [observation for observation in ASKED[:3] for _ in range(8)]
    policy.speaker = Speaker(policy.engine, policy.prompter, policy.banned, Speech(longest=6, temperature=2.0))
    replies = policy.act(asked, [None] * 24, [np.random.default_rng(i) for i in range(24)])
    assert rows[0] == 3
    assert rows[1:] == [sum(len(reply.tokens) > t for reply in replies) for t in range(1, 6)]
    for i, reply in enumerate(replies):
        (alone,) = policy.act([asked[i]], [None], [np.random.default_rng(i)])
        assert np.array_equal(alone.tokens, reply.tokens)
        assert np.allclose(alone.logprobs, reply.logprobs, atol=1e-5)


def test_a_stop_text_ends_an_answer_and_is_not_heard(policy: Policy) -> None:
    """With the same luck, each answer is the beginning of what it would be without: up to the first stop text."""
    free = say(policy, Speech(longest=12))
    stop = free[0].text[2:4]  # of two characters: it may lie across tokens
    stopped = say(policy, Speech(longest=12, stop=(stop, "never said")))
    assert stop not in "".join(reply.text for reply in stopped)
    assert stopped[0].text == free[0].text[: free[0].text.index(stop)]
    for before, after in zip(free, stopped, strict=True):
        assert np.array_equal(after.tokens, before.tokens[: len(after.tokens)])
        assert len(after.tokens) == len(before.tokens) or stop in before.text
    assert len(stopped[0].tokens) < len(free[0].tokens)
    for reply, again in zip(stopped, scored(policy, stopped), strict=True):
        assert np.allclose(again, reply.logprobs, atol=1e-5)


def test_a_control_token_can_be_a_stop_text(policy: Policy) -> None:
    free = say(policy, Speech(longest=12, temperature=3.0))
    said = {int(token) for reply in free for token in reply.tokens} - {policy.prompter.end}
    token = min(said)
    stopped = say(policy, Speech(longest=12, temperature=3.0, stop=(policy.prompter.tokenizer.decode([token]),)))
    assert all(token not in reply.tokens[:-1] for reply in stopped)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_is_that_of_sampling_and_of_scoring(policy: Policy, temperature: float) -> None:
    replies = say(policy, Speech(longest=6, temperature=temperature))
    again = scored(policy, replies)
    for observation, reply, of_reply in zip(ASKED, replies, again, strict=True):
        prompt = policy.prompter.prompt(observation).ids
        ids = torch.from_numpy(np.concatenate([prompt, reply.tokens]))[None]
        with torch.no_grad():
            logits = policy.checkpoint.model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / temperature
        logits[:, policy.banned] = -torch.inf
        expected = torch.log_softmax(logits, -1)[range(len(reply.tokens)), reply.tokens.tolist()].numpy()
        assert np.allclose(reply.logprobs, expected, atol=1e-5)
        assert np.allclose(of_reply, expected, atol=1e-5)


def test_a_closed_set_is_sampled_at_temperature_one(policy: Policy) -> None:
    choices = ("turn left", "turn right")
    before = policy.table(ASKED[0], choices)
    speak(policy, Speech(temperature=5.0))
    assert policy.table(ASKED[0], choices) == before


@pytest.mark.parametrize("wrong", [{"stop": ("",)}, {"temperature": 0.0}, {"longest": 0}])
def test_settings_that_would_say_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Speech.model_validate(wrong)


@pytest.mark.parametrize("broken", [[float("nan"), -1.0], [-np.inf, -np.inf]])
def test_nothing_is_drawn_from_what_is_no_probability(broken: list[float]) -> None:
    with pytest.raises(NotFinite, match="probabilities are not finite"):
        draw(np.array(broken, dtype=np.float32), np.random.default_rng(0))
