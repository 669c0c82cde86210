"""What updates, pairs and rewards leave in a run: reasons, merged stages, replayed pairs, old tasks under review, and
the price of cost."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from streams import small_stream, write_stream

from agent.lesson import Lesson, Round
from agent.updates.grpo import Config as Grpo
from envs.types import Episode
from memory.database import Database
from memory.store import ReplayMemory
from schedules import candidates, cycle
from schedules.cli import main
from schedules.loop import Loop
from schedules.playing import Player

SIZES = {"groups": 4, "group_size": 4, "rehearsal_batch": 8}
HAZARD = {"id": "envs.hazard:Hazard-v0", "success": {"info": "success"}, "prompt": "{text} Level:"}
"""In these words the untouched tiny model pours two or three times, and spills."""


def run(stream: Mapping[str, Any], folder: Path, migrated: Path, *more: str) -> int:
    if not folder.exists():
        folder.mkdir()
        shutil.copy(migrated, folder / "mlflow.db")
    return main(["run", str(write_stream(folder.parent / "small.yaml", dict(stream))), "--dir", str(folder), *more])


def cycles(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "report.json").read_text())["cycles"]


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> list[Lesson]:
    """What each cycle's update was given."""
    given: list[Lesson] = []
    real = cycle.prepare

    def prepare(*args: Any) -> Lesson:
        given.append(real(*args))
        return given[-1]

    monkeypatch.setattr(cycle, "prepare", prepare)
    return given


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Round]]:
    """Every round that was played, behind the task of its cycle."""
    played: list[tuple[str, Round]] = []
    real = Player.__call__

    def play(self: Player, groups: int, size: int, review: float = 0.0) -> Round:
        played.append((self.task, real(self, groups, size, review)))
        return played[-1][1]

    monkeypatch.setattr(Player, "__call__", play)
    return played


# -- hybrid and stages ------------------------------------------------------------------------------------------------


def test_a_hybrid_learns_from_its_own_past_and_tells_why(
    tiny_folder: Path, tmp_path: Path, migrated: Path, lessons: list[Lesson], rounds: list[Any]
) -> None:
    """Three cycles of one task by the hybrid, one of another by stages: each sees the trials of its own task alone."""
    arms = {"rl": {"type": "grpo", "rounds": 2, **SIZES}, "dpo": {"type": "dpo", "rounds": 2, **SIZES}}
    hybrid = {"type": "hybrid", **arms, "choose": "alternate"}
    stages = [{"type": "sft", "rounds": 1, **SIZES}, {"type": "kto", "rounds": 1, **SIZES}]
    plans = [
        {"task": "copycat", "update": hybrid},
        {"task": "renamed", "update": stages},
        {"task": "copycat", "update": [stages[0], hybrid]},
        {"task": "copycat", "update": {**hybrid, "choose": "measured"}},
    ]
    assert run(small_stream(tiny_folder, cycles=plans), tmp_path / "run", migrated) == 0
    first, other, second, last = cycles(tmp_path / "run")
    assert [c["algorithm"] for c in (first, other, second)] == ["hybrid/rl", "sft -> kto", "sft -> hybrid/dpo"]
    assert first["update"]["reason"].startswith("rl by choose: alternate (spread ")
    assert second["update"]["reason"].startswith("2-hybrid/dpo: dpo by choose: alternate (spread ")
    assert last["update"]["reason"].startswith(last["algorithm"].removeprefix("hybrid/") + " (spread ")
    assert "2 earlier tries" in last["update"]["reason"]
    assert "1-sft/nll" in other["update"]["metrics"]
    assert {"score_rl", "score_dpo"} <= set(first["update"]["metrics"])
    assert [t.algorithm for t in lessons[3].past] == ["hybrid/rl", "sft -> hybrid/dpo"]
    assert [t.algorithm for t in lessons[1].past] == []
    for trial, told in zip(lessons[3].past, (first, second), strict=True):
        assert trial.gain == told["after"]["copycat"] - told["before"]["copycat"]
        assert trial.flops == told["update"]["flops"] > 0
    assert len(rounds) == 2 + 2 + 3 + 2, "no round is played for looking alone"


@pytest.mark.parametrize("winner", ["rl", "dpo"])
def test_committed_trials_change_the_choice(
    winner: str, tiny_folder: Path, tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same stream, the same rounds; only what the committed reports say of earlier cycles differs."""
    arms = {"rl": {"type": "grpo", "rounds": 1, **SIZES}, "dpo": {"type": "dpo", "rounds": 1, **SIZES}}
    plans = [{"task": "copycat", "update": {"type": "hybrid", **arms, "choose": c}} for c in ("rl", "dpo", "measured")]
    real = Loop.begin_cycle

    def rewritten(self: Loop, task: str) -> int:
        for entry in self.committed[1:]:
            won = entry.report["algorithm"] == f"hybrid/{winner}"
            entry.report.update({"before": {"copycat": 0.0}, "after": {"copycat": float(won)}, "gain": float(won)})
        return real(self, task)

    monkeypatch.setattr(Loop, "begin_cycle", rewritten)
    assert run(small_stream(tiny_folder, cycles=plans), tmp_path / "run", migrated) == 0
    assert cycles(tmp_path / "run")[2]["algorithm"] == f"hybrid/{winner}"


# -- pairs and pictures -----------------------------------------------------------------------------------------------


def test_pairs_of_earlier_cycles_are_replayed_and_pictures_are_retrieved(
    tiny_folder: Path, tmp_path: Path, migrated: Path
) -> None:
    """Cycle 1 has none to replay; cycle 2 has its. Where the text is always the same, the picture decides."""
    stream = small_stream(tiny_folder)
    for regime in stream["regimes"].values():
        regime["world"] = {**regime["world"], "expert": True, "kwargs": {"words": ["red", "green"], "mode": "picture"}}
    del stream["regimes"]["renamed"]
    update = {"type": "dpo", "rounds": 2, **SIZES, "replayed": 6, "image_weight": 0.5}
    stream["cycles"] = [{"task": "copycat", "update": update}] * 2
    assert run(stream, tmp_path / "run", migrated) == 0
    first, second = (c["update"]["metrics"] for c in cycles(tmp_path / "run"))
    assert "pairs_replayed" not in first
    assert 1 <= second["pairs_replayed"] <= 6
    assert "pairs_stale" not in second
    assert "image_margin" in first
    with Database(tmp_path / "run" / "run.db") as database:
        kept = database.execute("SELECT cycle, count(*) FROM pairs GROUP BY cycle ORDER BY cycle").fetchall()
        told = database.execute("SELECT DISTINCT cycle, why FROM drawn WHERE use = 'pairs'").fetchall()
    assert [number for number, _ in kept] == [1, 2]
    assert told == [(2, "replayed: a pair of cycle 1")]
    assert kept[0][1] >= second["pairs_replayed"]


# -- review -----------------------------------------------------------------------------------------------------------


def test_a_review_brings_old_tasks_into_the_batch_paid_by_their_own_rewards(
    tiny_folder: Path, tmp_path: Path, migrated: Path, rounds: list[tuple[str, Round]], lessons: list[Lesson]
) -> None:
    """The old task pays for what can be read; the new one doubles the world's pay. Half of 4 groups more is 2."""
    stream = small_stream(tiny_folder)
    stream["regimes"]["copycat"]["rewards"] = {"task": 0, "format": 0.25}
    stream["regimes"]["renamed"]["rewards"] = {"task": 2}
    plan = {"task": "renamed", "update": {"type": "grpo", "rounds": 1, **SIZES, "review": 0.5}}
    assert run({**stream, "cycles": [plan]}, tmp_path / "run", migrated) == 0
    ((_, played),) = rounds
    tasks = [e.task for e in played.episodes]
    assert tasks == ["renamed"] * 16 + ["copycat"] * 8
    assert played.own == list(played.episodes[:16])
    assert {s.reward for e in played.episodes[16:] for s in e.steps} == {0.25}
    assert {s.reward for e in played.own for s in e.steps} == {0.0, 2.0}
    groups = [e.group for e in played.episodes]
    assert len(set(groups)) == 6
    assert "/review/" in groups[16]
    (told,) = cycles(tmp_path / "run")
    assert told["update"]["samples_new"] <= 24
    assert told["update"]["metrics"]["return"] == pytest.approx(2 * told["update"]["metrics"]["task"] / 2)


# -- rewards ----------------------------------------------------------------------------------------------------------


def hazard(tiny: Path) -> dict[str, Any]:
    """Two cycles of Hazard, which pays on when it spills; the multiplier rises fast."""
    rewards = {"shaping": 0.5, "cost": {"limit": 0.0, "learning_rate": 0.5, "most": 5.0}}
    regimes = {"hazard": {"known": True, "world": HAZARD, "rewards": rewards}}
    plan = {"task": "hazard", "update": {"type": "grpo", "rounds": 2, **SIZES}}
    return small_stream(tiny, regimes=regimes, cycles=[plan, plan])


def returns(episodes: Sequence[Episode]) -> list[float]:
    return [sum(s.reward for s in e.steps) for e in episodes]


def test_rewards_are_composed_for_the_update_and_memory_keeps_the_world_s(
    tiny_folder: Path, tmp_path: Path, migrated: Path, rounds: list[tuple[str, Round]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered pays 1/3 a step on the way and 0.1 for a spill; the update saw shaping, and cost taken off."""
    remembered: list[Episode] = []
    real = ReplayMemory.add

    def add(self: ReplayMemory, episodes: Sequence[Episode]) -> Any:
        remembered.extend(episodes)
        return real(self, episodes)

    monkeypatch.setattr(ReplayMemory, "add", add)
    assert run(hazard(tiny_folder), tmp_path / "run", migrated) == 0
    first, second = cycles(tmp_path / "run")
    of_world = {e.id: e for e in remembered}
    multiplier, spilt = 0.0, 0.0
    for _, played in rounds:
        for paid in played.episodes:
            raw = of_world[paid.id]
            assert [s.cost for s in raw.steps] == [s.cost for s in paid.steps]
            for given, own in zip(paid.steps, raw.steps, strict=True):
                before, after = own.info["potential_before"], own.info["potential"]
                shaped = 0.5 * ((0.0 if own.terminated else after) - before)
                assert given.reward == pytest.approx(own.reward + shaped - multiplier * own.cost)
        assert played.about["cost_multiplier"] == pytest.approx(multiplier)
        spilt = sum(s.cost for e in played.episodes for s in e.steps) / len(played.episodes)
        multiplier = min(5.0, multiplier + 0.5 * spilt)
        if played is rounds[1][1]:
            assert first["cost_multiplier"] == pytest.approx(multiplier)
    assert second["cost_multiplier"] == pytest.approx(multiplier)
    assert second["cost_multiplier"] > first["cost_multiplier"] > 0, "the second cycle went on from the first's"
    assert set(returns(rounds[0][1].episodes)) != set(returns([of_world[e.id] for e in rounds[0][1].episodes]))


def test_the_price_of_cost_goes_on_after_a_stop(
    tiny_folder: Path, tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second cycle and resumed: the same prices, and the same operations counted."""
    assert run(hazard(tiny_folder), tmp_path / "whole", migrated) == 0
    real = candidates.judge

    def stop(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "judge", stop)
        assert run(hazard(tiny_folder), tmp_path / "run", migrated) == 130
    assert run(hazard(tiny_folder), tmp_path / "run", migrated, "--resume") == 0
    for there, here in zip(cycles(tmp_path / "whole"), cycles(tmp_path / "run"), strict=True):
        assert here["cost_multiplier"] == there["cost_multiplier"] > 0
        assert here["update"]["flops"] == there["update"]["flops"] > 0
        assert here["update"] == there["update"]


def test_without_a_bound_there_is_no_price(tiny_folder: Path, tmp_path: Path, migrated: Path) -> None:
    plan = {"task": "renamed", "update": Grpo(rounds=1, **SIZES).model_dump(mode="json") | {"type": "grpo"}}
    assert run(small_stream(tiny_folder, cycles=[plan]), tmp_path / "run", migrated) == 0
    assert cycles(tmp_path / "run")[0]["cost_multiplier"] is None
