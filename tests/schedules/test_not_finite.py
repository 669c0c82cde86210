"""A number that is none, wherever it comes from, ends its cycle as refused: the run goes on with the old champion."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from streams import small_stream, write_stream

from agent.finite import NotFinite
from agent.learner import Learner
from agent.policy import Policy
from schedules.cli import main
from schedules.loop import Loop


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    return folder


def poison(policy: Policy) -> None:
    """An adapter that says nothing any more."""
    with torch.no_grad():
        policy.parameters()[0][:] = float("nan")


def after_call(owner: Any, name: str, call: int, policy_of: Callable[[Any], Policy], patch: pytest.MonkeyPatch) -> None:
    """Poison the candidate after the n-th call of a method."""
    real, calls = getattr(owner, name), [0]

    def poisoned(self: Any, *given: Any, **named: Any) -> Any:
        out = real(self, *given, **named)
        calls[0] += 1
        if calls[0] == call:
            poison(policy_of(self))
        return out

    patch.setattr(owner, name, poisoned)


PLACES = {
    "before a rollout": (Policy, "fork", 1, lambda policy: policy, "the model's probabilities are not finite numbers"),
    "in the last step": (Learner, "step", 2, lambda learner: learner.policy, "the model's probabilities are not"),
    "between two steps": (Learner, "step", 1, lambda learner: learner.policy, "not finite"),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_cycle_is_refused_and_the_next_one_runs(
    place: str, tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where no gate would refuse anything."""
    owner, name, call, policy_of, told = PLACES[place]
    settings = small_stream(tiny_folder)
    if place == "between two steps":
        settings["cycles"][0]["update"]["minibatch"] = 4
    stream = write_stream(folder.parent / "small.yaml", settings)
    with monkeypatch.context() as patch:
        after_call(owner, name, call, policy_of, patch)
        assert main(["run", str(stream), "--dir", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    broken, sound = report["cycles"]
    assert (broken["accepted"], sound["accepted"]) == (False, True)
    assert broken["verdict"].startswith("refused: ")
    assert told in broken["verdict"]
    assert broken["update"]["skipped"] in broken["verdict"]
    assert report["scores"][0] == report["scores"][1]
    assert [path.name for path in (folder / "adapters").iterdir()] == ["cycle-002"]


def test_a_champion_that_fails_a_later_regime_s_exam(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exam of a world that begins in cycle 2 is the champion's: that cycle is refused, the last one runs."""
    settings = small_stream(tiny_folder)
    settings["regimes"]["renamed"]["replaces"] = "copycat"
    update = settings["cycles"][0]["update"]
    settings["cycles"] = [{"task": task, "update": update} for task in ("copycat", "renamed", "renamed")]
    stream = write_stream(folder.parent / "small.yaml", settings)
    real, calls = Loop.examine, []

    def examine(self: Loop, adapter: str, tasks: Any, part: Any = None) -> Any:
        if adapter == "champion" and self.next_cycle:
            calls.append(tasks)
            if len(calls) == 1:
                raise NotFinite("the model's probabilities are not finite numbers")
        return real(self, adapter, tasks, part)

    monkeypatch.setattr(Loop, "examine", examine)
    assert main(["run", str(stream), "--dir", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert calls == [["renamed"], ["renamed"]], "what was not examined is examined in the next cycle"
    assert [c["accepted"] for c in report["cycles"]] == [True, False, True]
    failed = report["cycles"][1]
    assert failed["verdict"] == "refused: the model's probabilities are not finite numbers"
    assert (failed["before"], failed["after"], failed["update"]["optimizer_steps"]) == ({}, {}, 0)
    assert report["scores"][2] == [None, None]
    assert report["scores"][3][1] is not None


def test_an_adapter_that_reloads_as_nan_is_refused_and_leaves_no_folder(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exam went well; what the proof of the written adapter says is no number."""
    stream = write_stream(folder.parent / "small.yaml", small_stream(tiny_folder))
    real, calls = Policy._opinion, []

    def opinion(self: Policy) -> torch.Tensor:
        calls.append(1)
        return real(self) * (float("nan") if len(calls) == 1 else 1.0)

    monkeypatch.setattr(Policy, "_opinion", opinion)
    assert main(["run", str(stream), "--dir", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert [c["accepted"] for c in report["cycles"]] == [False, True]
    assert report["cycles"][0]["verdict"] == "refused: the adapter's log-probs are not finite numbers"
    assert report["scores"][0] == report["scores"][1]
    assert [path.name for path in (folder / "adapters").iterdir()] == ["cycle-002"]


def test_what_was_chosen_from_the_machine_is_chosen_once(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed takes its own threads and token budget, that of after memory ran out too."""
    settings = small_stream(tiny_folder)
    settings["model"]["threads"] = 0
    stream = write_stream(folder.parent / "small.yaml", settings)
    with monkeypatch.context() as patch:
        patch.setattr("agent.policy.choose_threads", lambda: 1)
        patch.setattr("agent.policy.find_tokens", lambda *_: 2048)
        real = Policy.fork

        def fork(self: Policy) -> None:
            if self.budget.tokens == 1024:
                raise KeyboardInterrupt
            self.budget.tokens = 1024  # memory ran out in the first cycle
            real(self)

        patch.setattr(Policy, "fork", fork)
        assert main(["run", str(stream), "--dir", str(folder)]) == 130
    chosen = []

    def remember(self: Policy) -> None:
        chosen.append((self.threads, self.budget.tokens))
        real(self)

    monkeypatch.setattr("agent.policy.choose_threads", lambda: 2)
    monkeypatch.setattr(Policy, "fork", remember)
    assert main(["run", str(stream), "--dir", str(folder), "--resume"]) == 0
    assert chosen == [(1, 1024)]
