"""`holdtrue memory embed`: a run gets another embedder, wherever it is stopped, and goes on with it."""

import shutil
import sys
from pathlib import Path

import pytest
from streams import small_stream, write_stream

from memory import reembedding
from memory.database import Database
from memory.reembedding import Reembedding
from schedules import candidates
from schedules.checkpoint import Ledger
from schedules.cli import main
from schedules.tracking import Tracker

TO_HASH = ("--set", "memory.embedder.type=hash")
OWN = """
import numpy as np
from envs.component import Settings

class Config(Settings):
    scale: float = 1.0
    def build(self):
        return Lengths(self.scale)

class Lengths:
    dimension = 2
    def __init__(self, scale):
        self.version = f"lengths-1/{scale}"
        self.scale = scale
    def embed(self, observations):
        return np.array([[len(o.text) * self.scale, 1] for o in observations], np.float32).reshape(-1, 2)
"""


@pytest.fixture(scope="module")
def stopped(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second cycle, and its stream beside it."""
    folder = tmp_path_factory.mktemp("stopped")
    stream = write_stream(folder / "small.yaml", small_stream(tiny_folder))
    with pytest.MonkeyPatch.context() as patch:
        real, calls = candidates.judge, []

        def judge(*args: object) -> object:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(*args)  # type: ignore[arg-type]

        patch.setattr(candidates, "judge", judge)
        (folder / "run").mkdir()
        Tracker(folder / "run").client.search_experiments()
        assert main(["run", str(stream), "--dir", str(folder / "run")]) == 130
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Path(shutil.copytree(stopped, tmp_path / "copy")) / "run"


def embed(folder: Path, *more: str) -> int:
    return main(["memory", "embed", "--dir", str(folder), *more])


def versions(folder: Path) -> list[str]:
    """Embedders of the stored vectors."""
    with Database(folder / "run.db") as database:
        sql = "SELECT DISTINCT version FROM vectors JOIN embedders ON number = embedder"
        return [version for (version,) in database.execute(sql)]


def embedder_of_run(folder: Path) -> dict[str, object]:
    """What a resumed run is compared with."""
    with Database(folder / "run.db") as database:
        return Ledger(database).fact("stream")["memory"]["embedder"]


def test_a_run_goes_on_with_another_embedder(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "--dir", str(folder), "--resume", *TO_HASH]) == 2
    told = capsys.readouterr().err
    assert "memory.embedder.type: was 'lvlm', is 'hash'" in told
    assert (
        f"""holdtrue memory embed --dir {folder} --set 'memory.embedder={{"type": "hash", "dimension": 256}}'""" in told
    )
    assert versions(folder)[0].startswith("lvlm-2/")
    assert embed(folder, *TO_HASH) == 0
    assert "have vectors of hash-1/256; the run can be resumed" in capsys.readouterr().out
    assert versions(folder) == ["hash-1/256"]
    assert (folder / "run.db.index").exists()
    assert embed(folder) == 0, "nothing is left to do, and nothing is asked for"
    assert main(["run", "--dir", str(folder), "--resume"]) == 0
    assert versions(folder) == ["hash-1/256"]


def test_and_back_to_the_base_s_own(folder: Path) -> None:
    before = versions(folder)
    assert embed(folder, *TO_HASH) == 0
    assert embed(folder, "--set", "memory.embedder.type=lvlm") == 0
    assert versions(folder) == before
    assert embedder_of_run(folder) == {"type": "lvlm", "dimension": 256}


@pytest.mark.parametrize("owner", ["work", "switch", "fact"])
def test_stopped_it_goes_on_without_being_told_again(
    folder: Path, owner: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Stopped among the batches, before the switch and within its transaction; meanwhile the run is not resumed."""
    monkeypatch.setattr(reembedding, "BATCH_STEPS", 4)
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        if owner == "work":
            real, calls = Reembedding._embed, []
            patch.setattr(Reembedding, "_embed", lambda *a: stop() if len(calls) == 3 else calls.append(real(*a)))
        else:
            patch.setattr(*((Reembedding, "switch", stop) if owner == "switch" else (Ledger, "replace_fact", stop)))
        assert embed(folder, *TO_HASH) == 130
    assert versions(folder)[0].startswith("lvlm-2/")
    assert main(["run", "--dir", str(folder), "--resume"]) == 2
    assert "memory.embedder.type: was 'lvlm', is 'hash'" in capsys.readouterr().err
    assert embed(folder) == 0
    assert versions(folder) == ["hash-1/256"]
    assert embedder_of_run(folder) == {"type": "hash", "dimension": 256}


def test_a_users_own_embedder_beside_the_stream(folder: Path) -> None:
    stream = folder.parent / "small.yaml"
    name = "own_lengths.embedder"
    package = folder.parent / "own_lengths"
    package.mkdir()
    (package / "embedder.py").write_text(OWN)
    own = ("--set", f"memory.embedder={{type: {name}, scale: 3}}")
    assert main(["memory", "embed", str(stream), "--dir", str(folder), *own]) == 0
    assert versions(folder) == ["lengths-1/3.0"]
    assert main(["run", str(stream), "--dir", str(folder), "--resume", *own]) == 0


def test_nothing_else_may_change(folder: Path, capsys: pytest.CaptureFixture) -> None:
    settings = (folder / "stream.yaml").read_bytes()
    assert embed(folder, *TO_HASH, "--set", "seed=5") == 2
    assert capsys.readouterr().err == (
        f"holdtrue: the stream is not that of the run in {folder}:\n  seed: was 0, is 5\n"
        "Change memory.embedder alone, or leave the stream out.\n"
    )
    assert (folder / "stream.yaml").read_bytes() == settings


def test_mistakes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert embed(folder, "--set", "memory.embedder.type=hsah") == 2
    assert "memory.embedder: no embedder 'hsah'. Did you mean 'hash'?" in capsys.readouterr().err
    assert embed(folder, "--set", "memory.embedder={type: hash, dimension: 4}") == 2
    assert "memory.embedder.dimension is 4: Input should be greater than or equal to 8." in capsys.readouterr().err
    assert embed(tmp_path / "none", *TO_HASH) == 2
    assert "holds no run" in capsys.readouterr().err
