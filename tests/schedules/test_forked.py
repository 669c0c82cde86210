"""A share of the way in a real run: what is examined, promoted, read in another process and saved is that share."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from streams import small_stream, write_stream

from agent.policy import Policy
from agent.witness import Witness
from schedules import candidates, cycle
from schedules.cli import main
from schedules.forked import Forked, proven
from schedules.gate import Verdict

GATE = {"min_gain": -1.0, "max_loss": 1.0, "max_kl_old": 100.0, "min_readable": 0.0, "min_exam": 8}
"""A gate that lets anything through."""


def test_three_quarters_of_the_way_are_saved_and_are_the_next_champion(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way of cycle 1 is refused by decree. Of its change from the first champion, 0.75 is on disk."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    stream = write_stream(tmp_path / "small.yaml", small_stream(tiny_folder, gate=GATE))
    real, judged, asked = candidates.judge, [], []
    weights: dict[str, list[torch.Tensor]] = {}

    def judge(*args: Any) -> Verdict:
        judged.append(args[5])
        return Verdict(False, "refused: by decree") if len(judged) == 1 else real(*args)

    class Seen(Forked):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            weights.setdefault("learned", self.learned)

    def fork(self: Policy) -> None:
        real_fork(self)
        weights.setdefault("champion", self.snapshot())

    def fault(self: Witness, policy: Policy, path: Path, samples: Any) -> str:
        asked.append((path.name, len(samples)))
        return real_fault(self, policy, path, samples)

    real_fork, real_fault = Policy.fork, Witness.fault
    monkeypatch.setattr(candidates, "judge", judge)
    monkeypatch.setattr(cycle, "Forked", Seen)
    monkeypatch.setattr(Policy, "fork", fork)
    monkeypatch.setattr(Witness, "fault", fault)
    assert main(["run", str(stream), "--dir", str(folder)]) == 0
    first, second = json.loads((folder / "report.json").read_text())["cycles"]
    assert (first["share"], second["share"]) == (0.75, 1.0)
    assert first["verdict"].endswith("at 0.75 of the way; the whole way was refused: by decree")
    assert judged[0] > judged[1] > 0, "KL on old observations is measured anew, and three quarters are nearer"
    assert first["update"]["kl_old_tasks"] == judged[1], "of what became champion, not of the whole way"
    assert second["update"]["kl_old_tasks"] == judged[2]
    assert [name for name, _ in asked] == ["cycle-001", "cycle-002"]
    assert all(count >= 8 for _, count in asked)
    wanted = [torch.lerp(old, new, 0.75) for old, new in zip(weights["champion"], weights["learned"], strict=True)]
    saved = load_file(folder / "adapters" / "cycle-001" / "adapter_model.safetensors")
    assert sorted(map(total, saved.values())) == pytest.approx(sorted(map(total, wanted)), rel=1e-6)
    assert sorted(map(total, saved.values())) != pytest.approx(sorted(map(total, weights["learned"])), rel=1e-6)


def total(weight: torch.Tensor) -> float:
    return float(weight.double().abs().sum())


def test_an_adapter_that_reads_otherwise_is_refused_and_removed(tmp_path: Path) -> None:
    class Loop:
        folder, staged, policy = tmp_path, "adapters/cycle-001", None
        witness = SimpleNamespace(fault=lambda policy, folder, samples: "it says something else")

        def stage(self, accepted: bool, task: str, algorithm: str) -> None:
            assert (task, algorithm) == ("new", "grpo")
            if accepted:
                (tmp_path / self.staged).mkdir(parents=True)

        def phase(self, name: str, detail: str) -> Any:
            assert name == "checkpoint"
            return pytest.MonkeyPatch.context()

    candidate = SimpleNamespace(task="new", asked=[])
    refused = Verdict(False, "refused: no gain")
    assert proven(Loop(), refused, candidate, "grpo") is refused
    assert proven(Loop(), Verdict(True, "promoted"), candidate, "grpo") == Verdict(
        False, "refused: it says something else"
    )
    assert not (tmp_path / "adapters" / "cycle-001").exists()
