"""A run that shows examples: champion and candidate sit the same exam, and being stopped changes nothing of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from streams import small_stream, write_stream
from test_run import Stop, lasting, prepared, rows, run

from agent.examples import Examples
from envs.preface import FRONT
from envs.types import Episode
from schedules import loop
from schedules.cli import main
from schedules.commands import opening
from schedules.exam import FIRST_EXAM_SEED

Exams = list[list[Episode]]


@pytest.fixture(scope="module")
def stream(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"memory": {"lived": 16, "rehearsal_steps": 8, "examples": 2}}
    return write_stream(tmp_path_factory.mktemp("stream") / "small.yaml", small_stream(tiny_folder, **changes))


def exams_kept(patch: pytest.MonkeyPatch) -> Exams:
    """Every exam from now on."""
    kept: Exams = []
    real = loop.sit

    def sit(*args: Any) -> Any:
        results, episodes = real(*args)
        kept.append(episodes)
        return results, episodes

    patch.setattr(loop, "sit", sit)
    return kept


@pytest.fixture(scope="module")
def whole(stream: Path, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exams]:
    """A run that was never stopped, and its exams."""
    folder = prepared(tmp_path_factory.mktemp("whole") / "run", migrated)
    with pytest.MonkeyPatch.context() as patch:
        exams = exams_kept(patch)
        assert run(stream, folder) == 0
    return folder, exams


def asked(exam: list[Episode]) -> dict[str, tuple[str, tuple[bytes, ...]]]:
    """What each episode began with."""
    first = {e.id: e.steps[0].observation for e in exam}
    return {name: (seen.text, tuple(image.tobytes() for image in seen.images)) for name, seen in first.items()}


def sources(exam: list[Episode]) -> set[str]:
    return {name for e in exam for s in e.steps for name in s.info.get(FRONT, {"episodes": []})["episodes"]}


def test_champion_and_candidate_are_shown_the_same_from_before_the_cycle(whole: tuple[Path, Exams]) -> None:
    """Exams: one before any training, and two of each cycle. What was known a cycle ago would be another exam."""
    folder, exams = whole
    known = {name: (cycle, task) for name, cycle, task in rows(folder, "SELECT id, cycle, task FROM episodes")}
    assert len(exams) == 5
    assert sources(exams[0]) == set()
    for cycle, (champion, candidate) in enumerate((exams[1:3], exams[3:5]), 1):
        assert asked(champion) == asked(candidate)
        assert len(sources(champion)) > 1
        assert all(known[name][0] < cycle for name in sources(champion) | sources(candidate))
    assert {known[name] for name in sources(exams[1])} == {(0, "copycat")}  # nothing of renamed went well yet
    assert {known[name] for name in sources(exams[3])} > {(0, "copycat")}
    assert asked(exams[1]) != asked(exams[3])


def test_what_is_remembered_says_who_stood_in_front(whole: tuple[Path, Exams]) -> None:
    """Episodes of training alone, shown successes of their own regime, of another seed, and of earlier cycles."""
    folder, _ = whole
    about = {row[0]: row[1:] for row in rows(folder, "SELECT id, task, seed, cycle, success, number FROM episodes")}
    assert all(seed < FIRST_EXAM_SEED for _, seed, *_ in about.values())
    by_number = {number: name for name, (*_, number) in about.items()}
    told = 0
    for number, info in rows(folder, "SELECT number, info FROM steps"):
        task, seed, cycle, _, _ = about[by_number[number >> 20]]
        shown = [about[name] for name in json.loads(info).get(FRONT, {"episodes": []})["episodes"]]
        assert all(s[0] == task and s[1] != seed and s[2] < cycle and s[3] for s in shown)
        told += len(shown)
    assert told > 16
    assert rows(folder, "SELECT count(*) FROM drawn WHERE use = 'example'") != [(0,)]


@pytest.mark.parametrize("call", [3, 5])
def test_stopped_in_a_candidates_exam_and_resumed_it_is_the_same(
    call: int, whole: tuple[Path, Exams], stream: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepared(tmp_path / "run", migrated)
    with monkeypatch.context() as patch:
        stop = Stop(loop.sit, call, KeyboardInterrupt())
        patch.setattr(loop, "sit", lambda *args: stop(*args))
        assert run(stream, folder) == 130
    exams = exams_kept(monkeypatch)
    assert run(stream, folder, "--resume") == 0
    assert [asked(exam) for exam in exams] == [asked(exam) for exam in whole[1][1:][-len(exams) :]]
    assert lasting(folder) == lasting(whole[0])


def test_the_commands_show_them_too_and_only_where_they_are_wanted(
    whole: tuple[Path, Exams], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Examples] = []

    def examples(*args: Any) -> Examples:
        made.append(Examples(*args))
        return made[-1]

    monkeypatch.setattr(opening, "Examples", examples)
    folder = str(whole[0])
    assert main(["exam", "--dir", folder]) == 0
    assert main(["play", "--dir", folder, "--png", str(tmp_path / "strip.png")]) == 0
    assert len(made) == 2
    assert all(one._chosen for one in made)
    assert main(["exam", "--dir", folder, "--set", "memory.examples=0"]) == 0
    assert main(["exam", str(whole[0] / "stream.yaml")]) == 0  # the untouched model has no memory
    assert len(made) == 2


def test_by_default_nothing_of_it_is_there(
    tiny_folder: Path, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples can't even be made, the champion is examined once, and no step has anything in front."""

    def never(*args: Any) -> None:
        raise AssertionError("examples were made")

    monkeypatch.setattr(loop, "Examples", never)
    exams = exams_kept(monkeypatch)
    folder = prepared(tmp_path / "run", migrated)
    assert run(write_stream(tmp_path / "small.yaml", small_stream(tiny_folder)), folder) == 0
    both = {"copycat", "renamed"}  # before any training, then the candidates alone: the champion's row is known
    assert [{e.task for e in exam} for exam in exams] == [both, both, both]
    assert rows(folder, f"SELECT count(*) FROM steps WHERE instr(info, '{FRONT}')") == [(0,)]
