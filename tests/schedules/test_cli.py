"""The commands, and what a mistake looks like: one clear message with the remedy, exit code 2, nothing left half."""

import errno
import socket
import sys
from pathlib import Path

import pytest
from streams import small_stream, write_stream

from memory.database import Database
from schedules.cli import disk_is_full, main, parser
from schedules.commands import ui


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def stream(tiny_folder: Path) -> Path:
    return write_stream(Path("small.yaml"), small_stream(tiny_folder))


def mistake(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """What is said on a mistake."""
    assert main(argv) == 2
    return str(capsys.readouterr().err)


def run_of(settings: dict, capsys: pytest.CaptureFixture) -> str:
    """The message of a run that can't begin; it leaves nothing behind."""
    path = write_stream(Path("broken.yaml"), settings)
    told = mistake(capsys, "run", str(path), "--dir", "r")
    assert not Path("r").exists()
    return told


def test_a_missing_model_folder(capsys: pytest.CaptureFixture) -> None:
    assert run_of(small_stream(Path("nowhere")), capsys) == (
        "holdtrue: model.path 'nowhere': no config.json in nowhere. Give 'pilot', or the folder of a checkpoint "
        "in Hugging Face format (config.json, *.safetensors, processor files).\n"
    )


def test_an_unknown_world(capsys: pytest.CaptureFixture, tiny_folder: Path) -> None:
    settings = small_stream(tiny_folder)
    settings["regimes"]["copycat"]["world"] = {"id": "envs.copycat:Copycut-v0", "success": {"info": "success"}}
    assert run_of(settings, capsys) == ("holdtrue: no world 'Copycut-v0' in envs.copycat. Did you mean 'Copycat-v0'?\n")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            "unseeded",
            "world 'tests.envs.fake_worlds:Corridor-v0' fails Gymnasium's checker: AssertionError: Using "
            "`env.reset(seed=123)` is non-deterministic as the observations are not equivalent. "
            "Mend the env, then check again with gymnasium.utils.env_checker.check_env.",
        ),
        (
            "raises in step",
            "world 'tests.envs.fake_worlds:Corridor-v0' raised RuntimeError: the floor gave way (seed 0, step 4, "
            "'right'). Mend the env: whatever is said to it, it must answer with finite rewards.",
        ),
        (
            "no success",
            "success.info is 'success': the last info of an episode of 'tests.envs.fake_worlds:Corridor-v0' has no "
            "such key. There are: at. Name one of these, or use return_at_least.",
        ),
    ],
)
def test_a_world_that_breaks_its_contract(
    broken: str, message: str, capsys: pytest.CaptureFixture, tiny_folder: Path
) -> None:
    """An unrepeatable one among them: it is found before the first cycle."""
    settings = small_stream(tiny_folder)
    corridor = {"id": "tests.envs.fake_worlds:Corridor-v0", "kwargs": {"broken": broken}, "max_steps": 30}
    settings["regimes"]["copycat"]["world"] = {**corridor, "success": {"info": "success"}}
    told = [line for line in run_of(settings, capsys).splitlines() if not line.startswith("importing")]
    assert told == [f"holdtrue: {message}"]


def test_a_misspelt_setting_and_a_value_out_of_range(stream: Path, capsys: pytest.CaptureFixture) -> None:
    where = stream.resolve()
    assert mistake(capsys, "run", str(stream), "--set", "exam.episode=64") == (
        f"holdtrue: {where}:\n  exam.episode: no such setting. Did you mean 'episodes'?\n"
    )
    assert mistake(capsys, "config", str(stream), "--set", "seed=-1") == (
        f"holdtrue: {where}:\n  seed is -1: Input should be greater than or equal to 0.\n"
    )
    assert not Path("runs").exists()


def test_a_folder_in_use_by_another_run(stream: Path, capsys: pytest.CaptureFixture) -> None:
    with Database(Path("r/run.db")):
        told = mistake(capsys, "run", str(stream), "--dir", "r", "--resume")
    assert told.startswith("holdtrue: r/run.db is in use by another run (pid ")
    assert told.endswith("). Stop it, or use another --dir.\n")


def test_a_stream_changed_since_the_run_began(
    stream: Path, tiny_folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("schedules.commands.run.run_stream", stop)
    assert main(["run", str(stream), "--dir", "r"]) == 130
    assert capsys.readouterr().err == "\nholdtrue: stopped.\n"
    told = mistake(capsys, "run", str(stream), "--dir", "r", "--resume", "--set", "exam.episodes=9")
    assert told.startswith(
        "holdtrue: stream has changed since this run began:\n  exam.episodes: was 8, is 9\n"
        "Resume with what it began with, or start a new run in another --dir. These may change: about, "
    )
    assert mistake(capsys, "run", str(stream), "--dir", "r").startswith("holdtrue: r holds a run already.")


def test_a_folder_that_cannot_be(stream: Path, capsys: pytest.CaptureFixture) -> None:
    Path("file").touch()
    assert mistake(capsys, "run", str(stream), "--dir", "file/r") == (
        "holdtrue: --dir file/r: Not a directory. Use another --dir.\n"
    )


WORLD = """
import sys
print("my_world runs", file=sys.stderr)
import gymnasium
from envs.copycat import Copycat
gymnasium.register("Mine-v0", entry_point=Copycat)
"""


def test_a_module_beside_the_stream_is_named_before_it_runs_and_no_other_is_touched(
    tiny_folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file there called yaml.py, or any other, is never imported."""
    monkeypatch.delitem(sys.modules, "my_world", raising=False)
    Path("my_world.py").write_text(WORLD)
    for name in ("neighbour.py", "yaml.py", "colorsys.py"):
        Path(name).write_text("raise SystemExit('imported')\n")
    settings = small_stream(tiny_folder)
    settings["regimes"]["copycat"]["world"] = {"id": "my_world:Mine-v0", "success": {"info": "success"}}
    path = write_stream(Path("mine.yaml"), settings)
    assert main(["check", str(path)]) == 0
    told = capsys.readouterr()
    where = Path("my_world.py").resolve()
    assert told.err.splitlines()[:2] == [f"importing my_world from {where}", "my_world runs"]
    assert "copycat keeps the contract" in told.out
    assert "neighbour" not in sys.modules


def test_an_update_of_one_s_own_is_named_too(
    tiny_folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my_parts").mkdir()
    Path("my_parts/slow.py").write_text("from agent.updates.grpo import Config\n")
    settings = small_stream(tiny_folder)
    settings["cycles"][0]["update"] = {"type": "my_parts.slow", "round": 2}
    path = write_stream(Path("mine.yaml"), settings)
    told = mistake(capsys, "config", str(path))
    assert told == (
        f"importing my_parts.slow from {Path('my_parts').resolve()}\n"
        f"holdtrue: {path.resolve()}:\n  cycles.0.update.round: no such setting. Did you mean 'rounds'?\n"
    )


def test_config_prints_what_run_takes(stream: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["config", str(stream), "--set", "seed=7"]) == 0
    first = capsys.readouterr().out
    Path("again.yaml").write_text(first)
    assert main(["config", "again.yaml"]) == 0
    assert capsys.readouterr().out == first
    assert "seed: 7\n" in first
    assert "    learning_rate: 0.003\n" in first


def test_check_of_a_world_by_its_id(capsys: pytest.CaptureFixture) -> None:
    assert main(["check", "envs.copycat:Copycat-v0", "--success", "info=success", "--set", "kwargs.length=3"]) == 0
    out = capsys.readouterr().out
    assert "envs.copycat:Copycat-v0 keeps the contract" in out
    assert "red, green, blue, yellow" in out
    assert "3, 3, 3" in out
    assert mistake(capsys, "check", "envs.copycat:Copycat-v0", "--success", "always") == (
        "holdtrue: --success always: write info=KEY or return_at_least=NUMBER.\n"
    )
    assert mistake(capsys, "check", "CartPole-v1", "--set", "instructon=balance") == (
        "holdtrue: CartPole-v1:\n  world.instructon: no such setting. Did you mean 'instruction'?\n"
    )


def test_play_shows_an_episode_and_writes_its_strip(stream: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["play", str(stream), "--task", "renamed", "--seed", "3", "--png", "e.png"]) == 0
    out = capsys.readouterr().out
    assert "renamed, seed 3: The word is" in out
    assert Path("e.png").read_bytes()[:4] == b"\x89PNG"
    assert mistake(capsys, "play", str(stream), "--task", "rename") == (
        "holdtrue: --task rename: no such regime in small. Did you mean 'renamed'?\n"
    )
    told = mistake(capsys, "play", str(stream), "--png", "no/e.png")
    assert told.startswith("holdtrue: --png no/e.png: ")


def test_exam_marks_controls_that_are_too_good(stream: Path, capsys: pytest.CaptureFixture) -> None:
    """Eight seeds of two words: one of the two wins more than half, unless they tie."""
    assert main(["exam", str(stream), "--controls", "--set", "exam.episodes=9"]) == 0
    out = capsys.readouterr().out
    assert "success on 9 held-out seeds" in out
    assert "best" in out
    assert "! above 0.55: a control wins copycat, renamed" in out
    assert mistake(capsys, "exam", str(stream), "--dir", "r") == (
        "holdtrue: r holds no run. Give a run's folder, or begin one: holdtrue run default\n"
    )


def test_report_and_ui_of_nothing(capsys: pytest.CaptureFixture) -> None:
    assert mistake(capsys, "report") == ("holdtrue: there is no run under runs/ yet. Start one: holdtrue run default\n")
    assert mistake(capsys, "ui", "--dir", "r") == (
        "holdtrue: r holds no MLflow record. Give a run's folder, or begin one: holdtrue run default\n"
    )
    Path("r").mkdir()
    Path("r/run.db").touch()
    assert mistake(capsys, "report", "r") == (
        "holdtrue: r has no report.json yet: its first examination is not over. Go on with --resume.\n"
    )


def test_ui_starts_the_server_and_says_where(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("r").mkdir()
    Path("r/mlflow.db").touch()
    started: list[list[str]] = []

    def server(command: list[str], env: dict[str, str]) -> object:
        started.append(command)
        assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"
        raise KeyboardInterrupt

    monkeypatch.setattr(ui.subprocess, "run", server)
    assert main(["ui", "--dir", "r", "--port", "5077"]) == 0
    assert "This run in MLflow:  http://127.0.0.1:5077" in capsys.readouterr().out
    assert started[0][-6:-2] == ["--host", "127.0.0.1", "--port", "5077"]


def test_ui_on_a_port_in_use(capsys: pytest.CaptureFixture) -> None:
    Path("r").mkdir()
    Path("r/mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = mistake(capsys, "ui", "--dir", "r", "--port", str(port))
    assert told.startswith(f"holdtrue: --port {port} can't be used (")
    assert told.endswith("Give another, for example --port 5001.\n")


def test_a_full_disk_is_recognised_however_it_is_said(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("could not save") from error

    monkeypatch.setattr("schedules.commands.config.load_stream", full)
    assert mistake(capsys, "config") == (
        "holdtrue: the disk is full. What was committed is safe. Free some space and go on with --resume.\n"
    )
    assert disk_is_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied"))


def test_a_fault_of_ours_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("schedules.commands.config.load_stream", fault)
    with pytest.raises(RuntimeError, match="ours"):
        main(["config"])


def test_help_names_every_command(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for command in ("run", "play", "exam", "report", "ui", "check", "memory", "config"):
        assert f"\n    {command} " in out


def test_no_command_is_a_mistake() -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([])
    assert ended.value.code == 2


def test_the_bundled_stream_needs_no_file_here(capsys: pytest.CaptureFixture) -> None:
    assert main(["config"]) == 0
    assert capsys.readouterr().out.startswith("stream: default\n")
