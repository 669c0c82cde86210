"""The second process: it finds what was written as it was meant, or says in what it differs."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.batch import Sample
from agent.lvlm.adapters import CANDIDATE, LoraSettings
from agent.lvlm.checkpoint import ModelSettings
from agent.policy import SPEECH, Policy
from agent.witness import Witness
from envs.component import UserError
from envs.types import Observation

LORA = LoraSettings(rank=2, alpha=4)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ModelSettings:
    return ModelSettings(path=str(tiny_folder), threads=1)


@pytest.fixture(scope="module")
def policy(model: ModelSettings) -> Policy:
    policy = Policy(model, LORA, 0)
    policy.fork()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05)
    return policy


@pytest.fixture(scope="module")
def witness(policy: Policy, model: ModelSettings) -> Iterator[Witness]:
    witness = Witness(policy, model, LORA, SPEECH)
    yield witness
    witness.close()


@pytest.fixture(scope="module")
def samples(policy: Policy) -> list[Sample]:
    """One with a picture and two choices, one of three, one where anything may be said."""
    seen = Observation("go to the <image>", (np.full((28, 28, 3), 90, np.uint8),))
    closed = [policy.ask(seen, ("turn left", "turn right")), policy.ask(Observation("say"), ("a", "b", "c"))]
    tokens = policy.encode("turn left", None)
    return [*closed, Sample(Observation("say"), None, tokens, np.zeros(len(tokens), np.float32))]


def test_what_was_written_says_the_same_there(policy, witness, samples, tmp_path) -> None:
    policy.save(tmp_path / "adapter")
    assert witness.fault(policy, tmp_path / "adapter", samples) == ""


def test_what_is_here_and_not_there_is_found(policy, witness, samples, tmp_path) -> None:
    """A thousandth more in every weight after it was written; then it is itself again."""
    policy.save(tmp_path / "adapter")
    weights = policy.snapshot()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.001)
    told = witness.fault(policy, tmp_path / "adapter", samples)
    policy.restore(weights)
    assert told.startswith("read in a process of its own, the adapter says something else, by 0.00")
    assert policy.adapters.active == CANDIDATE
    assert witness.fault(policy, tmp_path / "adapter", samples) == ""


def test_a_flipped_byte_is_found(policy, witness, samples, tmp_path) -> None:
    policy.save(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    told = witness.fault(policy, tmp_path / "adapter", samples)
    assert told.startswith("read in a process of its own, the adapter does not load: adapter ")
    assert "is damaged" in told


def test_one_that_was_killed_is_started_again(policy, witness, samples, tmp_path) -> None:
    policy.save(tmp_path / "adapter")
    os.kill(witness._process.pid, signal.SIGKILL)
    witness._process.wait()
    assert witness.fault(policy, tmp_path / "adapter", samples) == ""


def test_one_that_ends_at_once_says_what_to_do(policy, model, samples, tmp_path, monkeypatch) -> None:
    """The interpreter is one that does nothing and ends with 1."""
    monkeypatch.setattr("agent.witness.sys.executable", shutil.which("false"))
    nowhere = Witness(policy, model, LORA, SPEECH)
    with pytest.raises(UserError, match=r"gate.reload is 'fresh', but the process .* ended with code 1; .* same"):
        nowhere.fault(policy, tmp_path, samples)


def test_it_ends_when_its_parent_does_not_speak_any_more(witness) -> None:
    """The pipe closes when the parent dies, however it dies."""
    witness._process.stdin.close()
    assert witness._process.wait(60) == 0
