"""Every adapter says where it comes from, and what it says can be checked against the run's database."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import cycles_done, every, living_stream, prepared, serve
from streams import small_stream, write_stream

from envs.component import UserError
from schedules import lineage
from schedules.cli import main
from schedules.lineage import FEW, LONGEST_TAG, code, digest, read, tags, told
from schedules.tracking import Tracker


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two cycles, both promoted."""
    place = tmp_path_factory.mktemp("lineage")
    settings = small_stream(tiny_folder)
    settings["cycles"][1] = {"task": "renamed", "update": {"type": "dpo", "rounds": 1, "groups": 16, "group_size": 4}}
    stream = write_stream(place / "small.yaml", settings)
    folder = place / "run"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    assert main(["run", str(stream), "--dir", str(folder)]) == 0
    return folder


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as database:
        return database.execute(sql).fetchall()


def both(folder: Path) -> list[dict[str, Any]]:
    return [read(folder / "adapters" / f"cycle-{cycle:03d}") for cycle in (1, 2)]


def test_parents_lead_back_to_the_untouched_model(whole: Path) -> None:
    first, second = both(whole)
    assert first["parent"]["adapter"] == ""
    assert second["parent"] == {"adapter": "adapters/cycle-001", "version": first["version"]}
    for cycle, found in enumerate((first, second), 1):
        identity = json.loads((whole / f"adapters/cycle-{cycle:03d}/holdtrue.json").read_text())
        assert (found["version"], found["base"]) == (identity["version"], identity["base"])
    assert [(f["cycle"], f["task"], f["algorithm"]) for f in (first, second)] == [
        (1, "renamed", "grpo"), (2, "renamed", "dpo")
    ]  # fmt: skip


def test_what_it_learned_from_is_what_the_database_says(whole: Path) -> None:
    """2 rounds of 4 groups of 4 in cycle 1, 1 of 16 in cycle 2; memory is large enough to have kept them all."""
    for cycle, found in enumerate(both(whole), 1):
        played = [name for (name,) in rows(whole, found["how"]["episodes"])]
        assert found["episodes"]["count"] == len(played) == {1: 32, 2: 64}[cycle]
        assert sorted(played) == found["episodes"]["ids"]
        assert digest(sorted(played)) == found["episodes"]["digest"]
        drawn = rows(whole, found["how"]["drawn"])
        assert found["drawn"]["count"] == len(drawn) > 0
        assert sorted(row[0] for row in drawn) == found["drawn"]["ids"]
        assert found["pairs"]["count"] == len(rows(whole, found["how"]["pairs"]))


def test_what_is_lived_while_a_cycle_learns_is_none_of_its_episodes(
    tiny_folder: Path, migrated: Path, tmp_path: Path
) -> None:
    """16 of cycle 1's first round and 16 of its second are its own; what was lived bears its number as well."""
    folder = prepared(tmp_path / "run", migrated)
    serve(living_stream(tiny_folder, triggers=[every(10)]), folder, cycles_done(1))
    found = read(folder / "adapters/cycle-001")
    assert len(rows(folder, "SELECT 1 FROM episodes WHERE cycle = 1 AND grp = 'life'")) >= 10
    assert found["episodes"]["count"] == 32
    assert sorted(name for (name,) in rows(folder, found["how"]["episodes"])) == found["episodes"]["ids"]


def test_a_manifest_changes_no_adapter(whole: Path, tmp_path: Path) -> None:
    """Without it, the champion loads and is of the same version."""
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    for found in copy.glob("adapters/*/manifest.json"):
        found.unlink()
    assert main(["exam", "--dir", str(copy)]) == 0
    assert read(copy / "adapters/cycle-001") == {}


def test_mlflow_says_the_same_in_tags(whole: Path) -> None:
    first, second = both(whole)
    client = Tracker(whole).client
    version = client.get_model_version_by_alias("small", "champion")
    child = client.get_run(version.run_id)
    for found in (version.tags, child.data.tags):
        assert found["holdtrue.adapter"] == second["version"]
        assert found["holdtrue.parent"] == f"adapters/cycle-001 {first['version']}"
        assert found["holdtrue.episodes"] == f"64 (digest {second['episodes']['digest']}): renamed 64"
        assert found["holdtrue.seed"] == "0"
        assert found["holdtrue.code"] == second["code"]


def test_thousands_are_counted_and_digested_not_listed() -> None:
    many = [("a" if i % 3 else "b", f"id/{i}") for i in range(3 * FEW)]
    found = told(many)
    assert "ids" not in found
    assert (found["count"], found["by"]) == (192, {"a": 128, "b": 64})
    assert told(reversed(many)) == found, "in any order"
    assert told(many[1:])["digest"] != found["digest"]


def test_tags_stay_short_however_many_tasks() -> None:
    some = told([(f"a task with a long name {i}", str(i)) for i in range(400)])
    found = {
        "version": "v", "parent": {"adapter": "", "version": "p"}, "base": "b", "episodes": some, "drawn": some,
        "pairs": some, "seed": 0, "settings": "s", "libraries": None, "code": "c",
    }  # fmt: skip
    assert max(map(len, tags(found).values())) == LONGEST_TAG
    assert tags(found)["holdtrue.parent"] == "untouched model p"
    assert tags({}) == {}


def test_the_code_is_named_by_commit_or_else_by_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout, but only of its own; and nothing depends on git being there."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    assert code(package).startswith("holdtrue 0.")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    code.cache_clear()
    assert code(package).startswith("holdtrue 0."), "a checkout it is no part of"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    code.cache_clear()
    assert code(package) == f"git {head}"
    (package / "__init__.py").write_text("changed = True")
    code.cache_clear()
    assert code(package) == f"git {head}-dirty"
    code.cache_clear()
    monkeypatch.setattr(lineage.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert code(package).startswith("holdtrue 0.")


def test_a_manifest_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json does not read as JSON .*Restore it from a copy, or delete it"):
        read(tmp_path)
