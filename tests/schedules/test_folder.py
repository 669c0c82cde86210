"""Which folder a run uses: none is ever overwritten, and what to do is always said."""

from pathlib import Path

import pytest

from envs.component import UserError
from memory.database import Database
from schedules.folder import choose_folder, finished, latest, require_run, undo_start


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(name: str, done: bool = True) -> Path:
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    (folder / "run.db").touch()
    if done:
        (folder / "finished").touch()
    return folder


def refusal(*args: object) -> str:
    with pytest.raises(UserError) as caught:
        choose_folder(*args)  # type: ignore[arg-type]
    return str(caught.value)


def test_each_run_gets_the_next_free_folder() -> None:
    assert choose_folder("small", None, False) == Path("runs/small")
    made("small")
    made("small-3")
    made("small-late")  # another stream's
    assert choose_folder("small", None, False) == Path("runs/small-2")
    made("small-2")
    assert choose_folder("small", None, False) == Path("runs/small-4")


def test_resume_takes_the_newest_unfinished_run_else_the_newest() -> None:
    made("small", done=False)
    made("small-2")
    made("small-10")
    assert choose_folder("small", None, True) == Path("runs/small")
    Path("runs/small/finished").touch()
    assert choose_folder("small", None, True) == Path("runs/small-10")
    assert finished(Path("runs/small"))


def test_an_unfinished_run_is_not_forgotten() -> None:
    made("small", done=False)
    assert refusal("small", None, False) == (
        "runs/small holds an unfinished run of 'small'. Go on with it by adding: --resume --dir runs/small\n"
        "Or start afresh by adding: --dir runs/small-2"
    )


def test_a_given_folder() -> None:
    made("x")
    assert choose_folder("small", "runs/x", True) == Path("runs/x")
    assert choose_folder("small", "runs/y", False) == Path("runs/y")
    assert refusal("small", "runs/x", False) == (
        "runs/x holds a run already. Add --resume to go on with it, or give another --dir."
    )
    assert refusal("small", "runs/y", True) == ("runs/y holds no run to resume. Leave --resume out to start one there.")
    assert refusal("small", None, True) == (
        "there is no run of 'small' under runs/ to resume. Leave --resume out to start one."
    )


def test_no_run_yet() -> None:
    with pytest.raises(UserError, match=r"^there is no run under runs/ yet. Start one: holdtrue run default$"):
        latest()
    with pytest.raises(UserError, match=r"^runs/x holds no run. Give a run's folder, or begin one: holdtrue run def"):
        require_run(Path("runs/x"))


def test_a_start_that_failed_is_undone_but_nothing_else() -> None:
    Database(Path("runs/new/run.db")).close()
    undo_start(Path("runs/new"))
    assert not Path("runs/new").exists()
    Database(Path("runs/kept/run.db")).close()
    Path("runs/kept/notes.txt").touch()
    undo_start(Path("runs/kept"))
    assert [p.name for p in Path("runs/kept").iterdir()] == ["notes.txt"]


def test_the_folder_of_another_run_is_left_alone() -> None:
    with Database(Path("runs/theirs/run.db")):
        undo_start(Path("runs/theirs"))
        assert Path("runs/theirs/run.db").exists()
