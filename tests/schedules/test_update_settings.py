"""Mistakes in `update`, `pairs` and `rewards`: one line that tells the whole way to the setting, and what was meant."""

import math
from pathlib import Path
from typing import Any

import pytest
from streams import small_stream, write_stream

from envs.component import UserError, names
from schedules.config import as_yaml, load_stream

UPDATES = ", ".join(names("agent.updates"))
WHICH = f"say which by 'type:', one of {UPDATES}, or a module of your own."
WEIGHTS = "give each loss a weight of 0 or more, and one of them more than 0."


def write(folder: Path, update: Any, rewards: Any = None) -> Path:
    stream = small_stream(Path("tiny"), cycles=[{"task": "renamed", "update": update}])
    if rewards is not None:
        stream["regimes"]["renamed"]["rewards"] = rewards
    return write_stream(folder / "small.yaml", stream)


def refusal(folder: Path, update: Any, rewards: Any = None) -> str:
    """What is said, less the file's name and where all of it lies."""
    path = write(folder, update, rewards)
    with pytest.raises(UserError) as caught:
        load_stream(str(path))
    return str(caught.value).removeprefix(f"{path}:").strip().replace("cycles.0.", "")


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"type": "grpo", "group_size": 1}, "update.group_size is 1: Input should be greater than or equal to 2."),
        ({"type": "grpo", "stop": {"kll": 1}}, "update.stop.kll: no such setting. Did you mean 'kl'?"),
        ({"type": "ppo", "learning_rate": math.inf}, "update.learning_rate is inf: Input should be a finite number."),
        ({"type": ".."}, f"update: no update '..'. There are: {UPDATES}."),
        ({"type": "../grpo"}, "update: no update '../grpo'. Did you mean 'grpo'?"),
        ({"type": "grpo."}, "update: no update 'grpo.'. Did you mean 'grpo'?"),
        ({"type": "__init__"}, f"update: no update '__init__'. There are: {UPDATES}."),
        ({"type": 3}, f"update: update: {WHICH}"),
        (5, "update is 5: Input should be a valid dictionary."),
    ],
)
def test_mistakes_in_an_update(tmp_path: Path, update: Any, message: str) -> None:
    assert refusal(tmp_path, update) == message


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"sigmod": 1}, "update.loss.sigmod: there is no such name. Did you mean 'sigmoid'?"),
        ({"sigmoid": 0, "nll": 0}, f"update.loss: {WEIGHTS}"),
        ({"sigmoid": 1, "nll": -1}, f"update.loss: {WEIGHTS}"),
        ({}, f"update.loss: {WEIGHTS}"),
        ({"sigmoid": math.nan}, "update.loss.sigmoid is nan: Input should be a finite number."),
        ("sigmoid", "update.loss is 'sigmoid': Input should be a valid dictionary."),
    ],
)
def test_mistakes_in_a_mix_of_losses(tmp_path: Path, loss: Any, message: str) -> None:
    assert refusal(tmp_path, {"type": "dpo", "loss": loss}) == message


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ([], "update.stages: List should have at least 1 item after validation, not 0."),
        (["grpo"], "update.stages.0 is 'grpo': Input should be a valid dictionary."),
        ([{"type": "sft"}, {"rounds": 3}], f"update.stages.1: update: {WHICH}"),
        ([{"type": "sft"}, {"type": "grop"}], "update.stages.1: no update 'grop'. Did you mean 'grpo'?"),
        (
            [{"type": "sft"}, {"type": "grpo", "group_siz": 4}],
            "update.stages.1.group_siz: no such setting. Did you mean 'group_size'?",
        ),
        (
            {"type": "hybrid", "rl": {"type": "grpo", "learning_rat": 1}},
            "update.rl.learning_rat: no such setting. Did you mean 'learning_rate'?",
        ),
        (
            [{"type": "hybrid", "dpo": {"type": "dpo", "stop": {"sprea": 1}}}],
            "update.stages.0.dpo.stop.sprea: no such setting. Did you mean 'spread'?",
        ),
        (
            {"type": "hybrid", "rl": {"type": "stages", "stages": [{"type": "sft"}]}},
            "update.rl: an arm is one update that plays groups of 2 or more, such as grpo, dpo or kto. Name one.",
        ),
        (
            {"type": "hybrid", "choose": "best"},
            "update.choose is 'best': Input should be 'measured', 'rl', 'dpo' or 'alternate'.",
        ),
    ],
)
def test_mistakes_within_stages_and_arms(tmp_path: Path, update: Any, message: str) -> None:
    assert refusal(tmp_path, update) == message


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"annotator": {"type": "orcale"}}, "update.pairs.annotator: no annotator 'orcale'. Did you mean 'oracle'?"),
        (
            {"annotator": {"type": "oracle", "nois": 0.1}},
            "update.pairs.annotator.nois: no such setting. Did you mean 'noise'?",
        ),
        (
            {"annotator": {"type": "oracle", "noise": 3}},
            "update.pairs.annotator.noise is 3: Input should be less than or equal to 0.5.",
        ),
        ({"source": "steps"}, "update.pairs.source: no such setting. Did you mean 'sources'?"),
    ],
)
def test_mistakes_in_pairs(tmp_path: Path, pairs: Any, message: str) -> None:
    assert refusal(tmp_path, {"type": "dpo", "pairs": pairs}) == message
    staged = refusal(tmp_path, [{"type": "dpo", "pairs": pairs}])
    assert staged == message.replace("update.", "update.stages.0.")


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ({"shapng": 1}, "shapng: no such setting. Did you mean 'shaping'?"),
        ({"shaping": math.nan}, "shaping is nan: Input should be a finite number."),
        ({"cost": {"limit": 1, "lmit": 1}}, "cost.lmit: no such setting. Did you mean 'limit'?"),
        ({"cost": {}}, "cost.limit: is missing. Add it."),
        (
            {"cost": {"limit": 1, "start": 99}},
            "cost: start is 99.0, above most (10.0). Lower start, or raise most.",
        ),
    ],
)
def test_mistakes_in_rewards(tmp_path: Path, rewards: Any, message: str) -> None:
    assert refusal(tmp_path, {"type": "grpo"}, rewards) == f"regimes.renamed.rewards.{message}"


def test_equal_settings_are_equal_however_they_were_written(tmp_path: Path) -> None:
    """Defaults of components within components are filled in, however deep they stand."""
    short = load_stream(str(write(tmp_path, [{"type": "sft"}, {"type": "hybrid"}])))
    dpo = {"type": "dpo", "pairs": {"annotator": {"type": "returns"}}}
    spelled = [{"type": "sft", "rounds": 8}, {"type": "hybrid", "rl": {"type": "grpo", "group_size": 8}, "dpo": dpo}]
    long = load_stream(str(write(tmp_path, {"type": "stages", "stages": spelled})))
    assert long == short
    stages = short.cycles[0].update["stages"]
    assert stages[0]["learning_rate"] == 0.003
    assert stages[1]["rl"]["clip_low"] == 0.2
    assert stages[1]["dpo"]["pairs"]["annotator"]["type"] == "returns"
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(short))
    assert load_stream(str(again)) == short
