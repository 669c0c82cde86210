"""Worlds in processes of their own: the same episodes, and nothing left behind.

- Episodes are those of one process, to the last bit, for any number of workers.
- One half of the worlds steps while the actor thinks for the other.
- A process that dies ends its episodes as the world's error; the next ones get a new process.
- However the parent ends, its workers end too.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_actors import Random, Scripted, copycat, corridor, same, tickets

from envs.collect import WorldPool, collect
from envs.component import UserError
from envs.multimodal import WorldSettings
from envs.types import Choices, Episode, Observation, Reply, StopReason, Ticket
from envs.workers import Workers

WORLDS = {
    "colours": copycat(mode="both", length=4),
    "hall": corridor(timed=True, history=3),
    "bad": corridor(broken="raises in step"),
    "worse": corridor(broken="raises in reset"),
}
DEADLINE = 20.0


def rude(folder: Path, manner: str = "", seed: int = -1) -> WorldSettings:
    kwargs = {"folder": str(folder), "manner": manner, "seed": seed}
    return WorldSettings.model_validate(
        {"id": "tests.envs.fake_worlds:Rude-v0", "kwargs": kwargs, "success": {"info": "success"}}
    )


def mixed(count: int) -> list[Ticket]:
    return [Ticket(f"run/{i}", list(WORLDS)[i % 4], i // 8, f"g{i // 8}", i % 8, 2) for i in range(count)]


def until(true: Callable[[], bool]) -> bool:
    """Wait for something that another process does."""
    begun = time.monotonic()
    while not true() and time.monotonic() - begun < DEADLINE:
        time.sleep(0.02)
    return true()


def is_alive(process: int) -> bool:
    """Whether it runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def processes(pool: WorldPool) -> list[int]:
    assert isinstance(pool.stage, Workers)
    return pool.stage.processes


@pytest.fixture(scope="module")
def here() -> list[Episode]:
    return collect(Random(), mixed(40), WorldPool(WORLDS), width=12)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_episodes_are_those_of_one_process(here: list[Episode], workers: int) -> None:
    pool = WorldPool(WORLDS, workers)
    in_process, in_workers = Random(), Random()
    collect(in_process, mixed(40), WorldPool(WORLDS), width=12)
    there = collect(in_workers, mixed(40), pool, width=12)
    assert all(same(a, b) for a, b in zip(here, there, strict=True))
    assert in_workers.widths == in_process.widths  # thought for together: a model gives the same bits
    again = collect(Random(), mixed(40), pool, width=12)  # in used instances, by processes that are there
    assert all(same(a, b) for a, b in zip(here, again, strict=True))
    stops = {episode.task: episode.stop for episode in there if episode.task in ("bad", "worse")}
    assert stops["worse"] is StopReason.ENV_ERROR
    pool.close()


def test_a_picture_that_is_remembered_is_sent_and_kept_once() -> None:
    pool = WorldPool({"hall": corridor(history=3)}, 1)
    (episode,) = collect(Scripted(lambda _: "right"), tickets("hall", 1), pool)
    pool.close()
    first, second, third = (step.observation.images for step in episode.steps)
    assert (len(first), len(second), len(third)) == (1, 2, 3)
    assert second[0] is first[0]
    assert third[0] is first[0]
    assert third[1] is second[1]
    assert episode.final.images[0] is second[1]


def test_worlds_step_while_the_other_half_is_thought_for(tmp_path: Path) -> None:
    """Each call but the first of a half returns only once the other half's worlds have done what they were told."""
    told: list[list[str]] = []

    class Patient(Random):
        def act(
            self,
            observations: Sequence[Observation],
            choices: Sequence[Choices],
            rngs: Sequence[np.random.Generator],
        ) -> list[Reply]:
            if told:
                assert until(lambda: all((tmp_path / name).exists() for name in told[-1]))
            episodes = [o.text.split()[1].rstrip(".") for o in observations if o.text.startswith("begin")]
            told.append([f"stepped {number} 1" for number in episodes])
            return super().act(observations, choices, rngs)

    pool = WorldPool({"t": rude(tmp_path)}, 2)
    assert all(episode.success for episode in collect(Patient(), tickets("t", 8), pool, width=8))
    pool.close()
    assert sorted(len(names) for names in told) == [0, 0, 4, 4]


@pytest.mark.parametrize("manner", ["dies", "leaves"])
def test_a_process_that_dies_is_its_worlds_error(tmp_path: Path, manner: str) -> None:
    """Tickets 0, 2, ... are played by one process and 1, 3, ... by the other: the one that plays seed 2 dies."""
    pool = WorldPool({"t": rude(tmp_path, manner, seed=2)}, 2)
    episodes = collect(Random(), tickets("t", 4), pool, width=3)
    code = {"dies": -signal.SIGKILL, "leaves": 3}[manner]
    told = f"WorkerDied: the world's process ended with code {code}"
    assert [episode.stop for episode in episodes[::2]] == [StopReason.ENV_ERROR] * 2
    assert [episode.final.text for episode in episodes[::2]] == [told] * 2
    assert dict(episodes[2].steps[-1].info) == {"error": told}
    assert [episode.success for episode in episodes[1::2]] == [True] * 2
    assert all(episode.success for episode in collect(Random(), tickets("t", 2), pool, width=3))
    assert len(processes(pool)) == 2
    pool.close()


def test_what_a_world_prints_and_reads_does_not_disturb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pool = WorldPool({"t": rude(tmp_path, "talks")}, 1)
    assert all(episode.success for episode in collect(Random(), tickets("t", 3), pool))
    pool.close()
    out, err = capfd.readouterr()
    assert (out, err.count("Sampling rejected")) == ("", 3)


def test_a_mistake_is_told_as_in_one_process() -> None:
    bad = {"t": corridor().with_(kwargs={"size": 3})}
    messages = []
    for workers in (0, 1):
        with pytest.raises(UserError) as caught:
            collect(Random(), tickets("t", 1), WorldPool(bad, workers))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "can't be made with kwargs {'size': 3}" in messages[0]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"^workers is -1: set it to 0"):
        WorldPool(WORLDS, -1)
    with pytest.raises(UserError, match=r"^no task 'tea'. There are: colours, hall, bad, worse.$"):
        collect(Random(), tickets("tea", 1), WorldPool(WORLDS, 1))


def test_workers_that_do_not_start_are_an_error_and_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(UserError, match=r"^workers: a worker process did not start .* code 1\)"):
        collect(Random(), tickets("hall", 1), WorldPool(WORLDS, 1))


def test_a_folder_that_happens_to_be_here_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("raise SystemExit(4)")
    monkeypatch.setattr(sys, "path", [os.path.abspath(part) for part in sys.path])
    monkeypatch.chdir(tmp_path)
    pool = WorldPool(WORLDS, 1)
    assert all(episode.success for episode in collect(Scripted(lambda _: "right"), tickets("hall", 2), pool))
    pool.close()


def test_nothing_is_left_when_the_actor_raises_and_the_pool_goes_on(here: list[Episode]) -> None:
    pool = WorldPool(WORLDS, 2)
    seen: list[int] = []

    def fail(_: Observation) -> str:
        seen.extend(processes(pool))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        collect(Scripted(fail), mixed(8), pool)
    assert len(seen) == 2
    assert not any(map(is_alive, seen))
    there = collect(Random(), mixed(40), pool, width=12)
    assert all(same(a, b) for a, b in zip(here, there, strict=True))
    pool.close()


def test_closing_closes_the_worlds(tmp_path: Path) -> None:
    pool = WorldPool({"t": rude(tmp_path)}, 2)
    collect(Random(), tickets("t", 4), pool, width=4)
    there = processes(pool)
    pool.close()
    assert {int(path.name.split()[-1]) for path in tmp_path.glob("closed by *")} == set(there)
    assert not any(map(is_alive, there))


PARENT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background, it is ignored
from fake_actors import Random, tickets
from test_workers import rude
from envs.collect import WorldPool, collect
from pathlib import Path
pool = WorldPool({"t": rude(Path(sys.argv[1]), "hangs")}, 2)
try:
    collect(Random(), tickets("t", 2), pool, width=2)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, -15)])
def test_workers_end_with_their_parent_even_where_a_world_hangs(tmp_path: Path, how: signal.Signals, code: int) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path), os.getcwd()])
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=os.environ | {"PYTHONPATH": path})
    assert until(lambda: len(list(tmp_path.glob("hangs *"))) == 2)
    there = [int(file.name.split()[1]) for file in tmp_path.glob("hangs *")]
    assert all(map(is_alive, there))
    parent.send_signal(how)
    assert parent.wait(DEADLINE) == code
    assert until(lambda: not any(map(is_alive, there)))
