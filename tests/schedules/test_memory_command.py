"""`holdtrue memory`: on a run that was stopped before its second cycle was committed, as people find theirs."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streams import small_stream, write_stream

from memory.database import Database
from memory.parts import open_parts
from memory.schema import MIGRATIONS
from memory.verify import verify
from schedules.checkpoint import Committed, Ledger
from schedules.cli import main, parser
from schedules.commands.memory_search import observation
from schedules.learned import Learners, learners, trained

PLAYED = "0/small/1/renamed/0/0/0"


@pytest.fixture(scope="module")
def stopped(tiny_folder: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cycle 0 and cycle 1 (renamed, promoted) are committed; of cycle 2 some episodes are there."""
    base = tmp_path_factory.mktemp("stopped")
    stream = write_stream(base / "small.yaml", small_stream(tiny_folder))
    folder = base / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        real = Ledger.commit

        def commit(self: Ledger, entry: Committed, record: dict) -> None:
            if entry.cycle == 2:
                raise KeyboardInterrupt
            real(self, entry, record)

        patch.setattr(Ledger, "commit", commit)
        assert main(["run", str(stream), "--dir", str(folder)]) == 130
    with Database(folder / "run.db") as database:  # who was drawn, paired and judged, by hand
        draws = [(1, "0/small/0/copycat/0/0", "rehearsal", "by lot"), (1, "gone", "rehearsal", "longest unseen")]
        database.executemany("INSERT INTO drawn (cycle, episode, use, why) VALUES (?, ?, ?, ?)", draws)
        judged = (b"1", "recorded", "renamed", 1, json.dumps([PLAYED]), 0.5)
        database.execute(
            "INSERT INTO judgements (key, source, task, cycle, episodes, margin) VALUES (?, ?, ?, ?, ?, ?)", judged
        )
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, as the latest run of the folder one is in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return Path(shutil.copytree(stopped, Path("runs") / "small"))


def said(capsys: pytest.CaptureFixture, *argv: str, code: int = 0) -> str:
    """What a command prints."""
    capsys.readouterr()
    assert main(["memory", *argv]) == code
    out, err = capsys.readouterr()
    return str(err if code == 2 else out)


def test_stats(folder: Path, capsys: pytest.CaptureFixture) -> None:
    told = [line.split() for line in said(capsys, "stats").splitlines()]
    assert ["episodes", "56", "of", "at", "most", "20,000,", "56", "steps"] in told
    assert ["judgements", "1", "(1", "of", "recorded)"] in told
    with Database(folder / "run.db") as database:
        drawn = database.execute("SELECT count(*) FROM drawn WHERE use = 'rehearsal'").fetchone()[0]
    assert drawn > 2  # those of the run beside those that were put there
    assert ["drawn", str(drawn), f"({drawn}", "of", "rehearsal)"] in told
    (lived,) = [row for row in told if row[:2] == ["copycat", "success"]]
    (failed,) = [row for row in told if row[:2] == ["copycat", "failure"]]
    assert int(lived[2]) + int(failed[2]) == 8 + 16
    assert {lived[4], failed[4]} <= {"0", "2", "0-2"}


def test_search_by_text_by_picture_and_by_both(folder: Path, capsys: pytest.CaptureFixture) -> None:
    with Database(folder / "run.db") as database:
        seen = open_parts(database).episodes.read([9])[0].steps[0].observation
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8) if not seen.images else seen.images[0]).save("seen.png")
    for words in (["moon"], ["seen.png"], ["seen.png", seen.text]):
        rows = said(capsys, "search", *words, "-k", "3").splitlines()[3:6]
        assert all(row.split()[0].startswith("0/small/") and len(row.split()) == 6 for row in rows)
    assert rows[0].split()[2] == "1.000", "what was seen is found itself"


def test_a_query_is_an_observation_with_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (4, 2)).save("a.PNG")
    assert observation(["go", "left"]).text == "go left"
    alone, both = observation(["a.PNG"]), observation(["a.PNG", "go", "a.PNG"])
    assert (alone.text, both.text) == ("<image>", "<image><image>go")
    assert [image.shape for image in both.images] == [(2, 4, 3)] * 2
    assert observation(["a.PNG", "see <image>!"]).text == "see <image>!"


def test_show(folder: Path, capsys: pytest.CaptureFixture) -> None:
    told = said(capsys, "show", PLAYED, "--png", "strip.png")
    assert told.startswith(f"{PLAYED}: renamed, cycle 1, seed ")
    assert "Played in cycle 1, whose candidate was promoted." in told
    assert "Adapters that learned from it: adapters/cycle-001." in told
    assert "recorded" in told
    with Image.open("strip.png") as strip:
        assert strip.height > 100
    told = said(capsys, "show", "0/small/0/copycat/0/0")
    assert "Lived in before any training." in told
    assert "Drawn in cycle 1 for rehearsal: by lot" in told
    assert "Adapters that learned from it: adapters/cycle-001." in told
    assert "Played in cycle 2, which isn't over yet." in said(capsys, "show", "0/small/2/copycat/0/0/0")


def test_show_of_what_was_merely_lived_through(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """It bears the number of cycle 1, which was promoted and did not see it, until cycle 1 is said to rehearse it."""
    with Database(folder / "run.db") as database:
        database.execute("UPDATE episodes SET grp = 'life' WHERE id = ?", (PLAYED,))
    told = said(capsys, "show", PLAYED)
    assert "Lived through before the end of cycle 1, which did not learn from it." in told
    assert "Adapters that learned from it: none." in told
    with Database(folder / "run.db") as database:
        database.execute("UPDATE episodes SET uses = 1 WHERE id = ?", (PLAYED,))
    assert "Adapters that learned from it: adapters/cycle-001." in said(capsys, "show", PLAYED)


def test_export(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert said(capsys, "export", "out").startswith("Written to out: 56 episodes, 56 steps, ")
    assert (Path("out") / "steps.parquet").is_file()


def test_verify_repair_and_rebuild(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert said(capsys, "rebuild") == "The index of runs/small is made anew: 56 steps can be found.\n"
    assert said(capsys, "verify").startswith("runs/small is sound: 56 episodes, 56 steps")
    with Database(folder / "run.db") as database:
        database.execute("DELETE FROM vectors WHERE episode = 9")
        name = database.execute("SELECT id FROM episodes WHERE number = 9").fetchone()[0]
    told = said(capsys, "verify", code=1).splitlines()
    assert told[1] == f"  episode {name}: its vectors are missing"
    assert told[2:] == [
        "Mend it: holdtrue memory verify --repair --dir runs/small",
        "That removes 1 episodes for good (or restore runs/small/run.db from a copy).",
    ]
    told = said(capsys, "verify", "--repair").splitlines()
    assert told[-2] == f"removed: episode {name} (its vectors are missing)"
    assert told[-1].startswith("runs/small is sound: 55 episodes")


def test_verify_says_how_to_salvage_a_damaged_file(folder: Path, capsys: pytest.CaptureFixture) -> None:
    data = bytearray((folder / "run.db").read_bytes())
    data[:4096] = bytes(4096)
    (folder / "run.db").write_bytes(data)
    told = said(capsys, "verify", code=1)
    assert told.startswith("runs/small/run.db is damaged as a whole:\n")
    assert "sqlite3 runs/small/damaged.db .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 runs/small/run.db" in told


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs SQLite's own tool")
def test_what_verify_says_of_a_damaged_file_salvages_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """The commands are taken from what is said; one page of steps is lost."""
    with Database(folder / "run.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        root = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'steps'").fetchone()[0] - 1
    data = bytearray((folder / "run.db").read_bytes())
    last = int.from_bytes(data[4096 * root + 8 : 4096 * root + 12], "big") - 1  # the root's rightmost child
    data[4096 * last : 4096 * (last + 1)] = b"\xff" * 4096
    (folder / "run.db").write_bytes(data)
    commands = [
        line for line in said(capsys, "verify", code=1).splitlines() if line.startswith("  mv ") or "sqlite3 " in line
    ]
    assert [subprocess.run(line, shell=True).returncode for line in commands] == [0, 0, 0]
    assert "it has 0 steps of 1" in said(capsys, "verify", "--repair")
    told = said(capsys, "verify")
    assert told.startswith("runs/small is sound: ")
    assert 0 < int(told.split()[3]) < 56


def test_forget_says_first_what_would_go(folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = (folder / "run.db").read_bytes()
    told = said(capsys, "forget", "--task", "renamed", "--before", "2").splitlines()
    assert told[0] == "This would be forgotten:"
    assert told[1].split() == ["episodes", "32", "(32", "of", "renamed)"]
    assert "  judgements  1 (1 of recorded)" in told
    assert "Adapters that learned from it: adapters/cycle-001." in told
    assert told[-1] == "  holdtrue memory forget --task renamed --before 2 --dir runs/small --yes"
    assert (folder / "run.db").read_bytes() == before


def test_forget_and_resume(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """The run goes on to its end, and what was forgotten is not rehearsed."""
    told = said(capsys, "forget", "--task", "renamed", "--yes").splitlines()
    assert told[0] == "Forgotten:"
    assert "They keep what they learned: go back to one before them, or run the stream again without it." in told
    assert told[-1] == "runs/small/run.db is written anew without it; no copy you made elsewhere is."
    assert said(capsys, "forget", "--task", "renamed").startswith("Nothing in memory is of that kind.\n")
    assert main(["run", "--resume", "--dir", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert [cycle["cycle"] for cycle in report["cycles"]] == [1, 2]
    assert report["memory"]["episodes"] == 8 + 16
    with Database(folder / "run.db") as database:
        assert verify(open_parts(database)).sound


def test_an_episode_that_is_gone_still_says_who_learned_from_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert said(capsys, "show", "gone", code=2) == (
        "holdtrue: episode 'gone' is no longer there: evicted or forgotten. It was used in cycle 1; "
        "'holdtrue memory forget --id gone' says which adapters learned from it.\n"
    )
    assert "Adapters that learned from it: adapters/cycle-001." in said(capsys, "forget", "--id", "gone")


def entry(cycle: int, accepted: bool | None, task: str = "t", champion: str = "") -> Committed:
    """`champion` is the one that a refused candidate left in force."""
    report = {"task": task, "accepted": accepted} if accepted is not None else {"cycle": 0}
    return Committed(cycle, report, {}, f"a{cycle}" if accepted else champion)


def test_adapters_that_descend_from_one_that_learned_it_hold_it_too() -> None:
    """Cycle 2 was refused: what it learned is gone. Cycle 4 goes on from cycle 3; cycle 1 came before."""
    cycles = [entry(0, None), entry(1, True), entry(2, False, champion="a1"), entry(3, True, "u"), entry(4, True)]
    cycles.append(entry(5, False, champion="a4"))
    assert learners(cycles, {0, 2, 3}) == Learners(("a3",), ("a4",))
    assert learners(cycles, {1, 4}) == Learners(("a1", "a4"), ("a3",))
    assert learners(cycles, {2, 5}) == Learners((), ())
    assert trained(cycles, "t", None) == {1, 2, 4, 5}
    assert trained(cycles, None, 4) == {1, 2, 3}


MISTAKES = [
    (["forget"], "say what to forget: --task NAME, --source NAME, --before CYCLE or --id ID, or several of them."),
    (["search", "x", "-k", "0"], "-k 0: ask for 1 or more steps."),
    (["search", "none.png"], "none.png can't be read as a picture ([Errno 2] No such file or directory: 'none.png'). "
     "Give a PNG or JPEG file."),
    (["search", "x <image>"], "the text has 1 '<image>' marks for 0 pictures. Write one mark a picture, or none."),
    (["show", "nobody"], "no episode 'nobody' in runs/small. 'holdtrue memory search' finds ids."),
    (["show", "1/renamed/0/0/0"], f"no episode '1/renamed/0/0/0' in runs/small. Did you mean one of: {PLAYED}?"),
    (["export", "."], ". is there already and not empty. Give another folder, or move that one away."),
    (["stats", "--dir", "x"], "x holds no run. Give a run's folder, or begin one: holdtrue run default"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), MISTAKES, ids=[" ".join(argv) for argv, _ in MISTAKES])
def test_a_mistake_is_one_message(folder: Path, capsys: pytest.CaptureFixture, argv: list[str], message: str) -> None:
    assert said(capsys, *argv, code=2) == f"holdtrue: {message}\n"


def test_a_store_that_cannot_be_opened_now(folder: Path, capsys: pytest.CaptureFixture) -> None:
    with Database(folder / "run.db") as database:
        told = said(capsys, "stats", code=2)
        assert told.startswith("holdtrue: runs/small/run.db is in use by another run (pid ")
        database.execute("UPDATE parts SET version = 99 WHERE name = 'memory'")
    assert said(capsys, "verify", code=2) == (
        f"holdtrue: runs/small/run.db has format memory 99; this holdtrue knows memory {len(MIGRATIONS)}. "
        "Use the newer holdtrue that wrote it, or another --dir.\n"
    )


@pytest.mark.parametrize("lost", ["DROP TABLE parts", "DELETE FROM parts"])
def test_a_store_that_lost_its_versions(folder: Path, capsys: pytest.CaptureFixture, lost: str) -> None:
    with Database(folder / "run.db") as database:
        database.execute(lost)
    for action in ("verify", "stats"):
        told = said(capsys, action, code=2)
        assert told.startswith("holdtrue: runs/small/run.db has ")
        assert told.endswith("Restore it from a copy, or begin a new run in another --dir.\n")


def test_a_run_that_never_began(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "stats", code=2) == (
        "holdtrue: there is no run under runs/ yet. Start one: holdtrue run default\n"
    )
    Database(Path("runs/x/run.db")).close()
    assert said(capsys, "stats", code=2) == (
        "holdtrue: runs/x/run.db holds no memory: its run stopped before it began. Go on with --resume.\n"
    )


def test_help_names_every_action(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["memory", "--help"])
    out = capsys.readouterr().out
    for action in ("stats", "search", "show", "export", "verify", "rebuild", "forget"):
        assert f"\n    {action} " in out


def test_the_commands_of_the_page_can_be_given() -> None:
    page = (Path(__file__).parents[2] / "docs" / "memory" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(?: +\$ )?holdtrue (memory .+)$", page, re.MULTILINE)
    actions = {parser().parse_args(shlex.split(line, comments=True)).action for line in lines}
    assert actions == {"stats", "search", "show", "export", "verify", "rebuild", "forget"}
