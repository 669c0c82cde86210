"""A stream's settings: every mistake is one line that says where, what, why and what to do. Exact messages."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from streams import small_stream, write_stream

from envs.component import UserError
from schedules.config import BUNDLED, StreamSettings, as_yaml, effective, load_stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_stream(tmp_path / "small.yaml", small_stream(Path("tiny")))


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_stream(str(path), overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("name", sorted(p.stem for p in BUNDLED.glob("*.yaml")))
def test_every_bundled_stream_loads(name: str) -> None:
    stream = load_stream(name)
    assert stream.stream == name
    assert effective(stream) == stream


def test_every_default_is_filled_in_and_the_yaml_is_the_stream(path: Path, tmp_path: Path) -> None:
    """Those of components too; an equal stream has equal settings, however it was written."""
    stream = load_stream(str(path))
    assert stream.cycles[0].update["learning_rate"] == 0.003
    assert stream.regimes["renamed"].world.drift[0]["said"] is True
    assert [part["type"] for part in stream.memory.recall["parts"]] == ["uniform", "similar", "age"]
    (tmp_path / "again.yaml").write_text(as_yaml(stream))
    assert load_stream(str(tmp_path / "again.yaml")) == stream


def test_overrides_reach_lists_and_are_read_as_yaml(path: Path) -> None:
    stream = load_stream(str(path), ["exam.episodes=64", "cycles.1.update={type: grpo, rounds: 3}"])
    assert stream.exam.episodes == 64
    assert stream.cycles[1].update["type"] == "grpo"
    assert stream.cycles[1].update["rounds"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("exam.episodes", "--set exam.episodes: write key=value, for example --set exam.episodes=64"),
        ("=3", "--set =3: write key=value, for example --set exam.episodes=64"),
        ("about=[1", "--set about=[1: the value is not readable as YAML. Quote it."),
        (
            "cycles.7.task=x",
            "--set cycles.7.task=x: there is no such place in the stream. 'holdtrue config' prints all places.",
        ),
        (
            "stream.name=x",
            "--set stream.name=x: there is no such place in the stream. 'holdtrue config' prints all places.",
        ),
        ("exam.episode=64", "small.yaml:\n  exam.episode: no such setting. Did you mean 'episodes'?"),
        ("exam.episodes=2", "small.yaml:\n  exam.episodes is 2: Input should be greater than or equal to 8."),
        (
            "exam.episodes=many",
            "small.yaml:\n  exam.episodes is 'many': Input should be a valid integer, "
            "unable to parse string as an integer.",
        ),
        ("memry.on=false", "small.yaml:\n  memry: no such setting. Did you mean 'memory'?"),
        ("gate.maxloss=0.2", "small.yaml:\n  gate.maxloss: no such setting. Did you mean 'max_loss'?"),
        ("regimes.copycat.know=true", "small.yaml:\n  regimes.copycat.know: no such setting. Did you mean 'known'?"),
        (
            "regimes.copycat.world.histery=2",
            "small.yaml:\n  regimes.copycat.world.histery: no such setting. Did you mean 'history'?",
        ),
        ("cycles.0.tusk=x", "small.yaml:\n  cycles.0.tusk: no such setting. Did you mean 'task'?"),
        ("cycles.0.task=renamd", "small.yaml:\n  cycles[0].task is 'renamd': Did you mean 'renamed'?"),
        ("cycles.0.update.type=grop", "small.yaml: cycles.0.update: no update 'grop'. Did you mean 'grpo'?"),
        (
            "cycles.0.update.group_siz=4",
            "small.yaml:\n  cycles.0.update.group_siz: no such setting. Did you mean 'group_size'?",
        ),
        (
            "cycles.0.update.group_size=1",
            "small.yaml:\n  cycles.0.update.group_size is 1: Input should be greater than or equal to 2.",
        ),
        (
            "memory.recall.type=oldest",
            "small.yaml: memory.recall: no recall 'oldest'. There are: age, drift, mixture, similar, uniform.",
        ),
        ("memory.examples=-1", "small.yaml:\n  memory.examples is -1: Input should be greater than or equal to 0."),
        (
            "regimes.renamed.replaces=copycta",
            "small.yaml:\n  regimes.renamed.replaces is 'copycta': Did you mean 'copycat'?",
        ),
        (
            "stream=../elsewhere",
            "small.yaml:\n  stream is '../elsewhere': String should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$'.",
        ),
        (
            "cycles=[]",
            "small.yaml:\n  cycles is empty: a run needs at least one cycle, "
            "for example {task: NAME, update: {type: grpo}}.",
        ),
    ],
)
def test_mistakes(path: Path, override: str, message: str) -> None:
    assert refusal(path, override) == message


def test_examples_without_a_memory_are_refused(tmp_path: Path) -> None:
    stream = small_stream(Path("tiny"), memory={"on": False, "examples": 2})
    assert refusal(write_stream(tmp_path / "small.yaml", stream)) == (
        "small.yaml:\n  memory: examples is 2 and on is false: nothing is recalled that could be shown. "
        "Set memory.on to true, or memory.examples to 0."
    )


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    stream = small_stream(Path("tiny"))
    del stream["cycles"]
    assert refusal(write_stream(tmp_path / "small.yaml", stream)) == "small.yaml:\n  cycles: is missing. Add it."


def test_what_is_no_stream() -> None:
    bundled = ", ".join(sorted(p.stem for p in BUNDLED.glob("*.yaml")))
    assert refusal(Path("zzzz")) == f"no stream 'zzzz'. There are: {bundled}. Or give the path of a YAML file."
    assert refusal(Path("defualt")) == ("no stream 'defualt'. Did you mean 'default'? Or give the path of a YAML file.")
    assert refusal(Path("gone.yaml")) == (
        "no file 'gone.yaml'. Give the path of a YAML file, or the name of a bundled stream."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "small.yaml: a stream is a mapping with 'stream', 'regimes' and 'cycles'. Write these."),
        ("a: [1\n", "small.yaml is not readable as YAML: while parsing a flow sequence"),
        ("a: !!python/object/apply:os.getcwd []\n", "small.yaml is not readable as YAML: could not determine"),
    ],
)
def test_yaml_is_data(tmp_path: Path, text: str, message: str) -> None:
    """A tag that would call something is refused, not obeyed."""
    path = tmp_path / "small.yaml"
    path.write_text(text)
    assert refusal(path).startswith(message)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(path).startswith("small.yaml is not readable as YAML: ")


def test_the_stream_s_folder_comes_behind_what_is_installed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file there called numpy.py shadows nothing; the bundled folder is no place for modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    load_stream("default")
    assert sys.path == before
    load_stream(str(path))
    load_stream(str(path))
    assert sys.path == [*before, str(path.parent)]


def test_settings_round_trip_through_json(path: Path) -> None:
    stream = load_stream(str(path))
    data: dict[str, Any] = yaml.safe_load(as_yaml(stream))
    assert StreamSettings.model_validate(data) == stream
