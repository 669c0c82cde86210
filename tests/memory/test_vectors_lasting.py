"""The index over a long life: random changes against the oracle, and lists where it has grown."""

import numpy as np

from tests.memory.indexed import DIMENSION, ROUNDING, opened, wrong_neighbours
from tests.memory.making import episode


def live_at_random(tmp_path, rng, rounding):
    """Adds, evictions, rollbacks, saves and reopenings in random order; what `wrong_neighbours` said at each look."""
    path, looks = tmp_path / "run.db", []
    database, memory = opened(path, capacity=15)
    for moment in range(60):
        what = rng.integers(6)
        if what <= 1:
            new = [
                episode(f"{moment}-{i}", rng, "ab"[i % 2], length=int(rng.integers(0, 5)), cycle=moment)
                for i in range(4)
            ]
            memory.add(new)
        elif what == 2:
            memory.settle(rng)
        elif what == 3:
            memory.save_index(always=bool(rng.integers(2)))
        elif what == 4:
            try:
                with database.transaction():
                    memory.add([episode(f"undone{moment}", rng)])
                    memory.settle(rng)
                    if rng.integers(2):
                        memory.search(np.ones(DIMENSION), 3)
                    raise KeyError
            except KeyError:
                pass
        else:
            database.close()
            database, memory = opened(path, capacity=15)
        if rng.integers(2):
            looks.append(wrong_neighbours(database, memory, rng, rounding))
    database.close()
    return looks


def test_random_life_against_the_oracle(tmp_path, rng):
    looks = live_at_random(tmp_path, rng, 0.0)
    assert len(looks) > 20
    assert not any(looks)


def test_random_life_over_and_below_the_switch_to_lists(tmp_path, rng, listed, rebuilds):
    assert not any(live_at_random(tmp_path, rng, ROUNDING))
    assert len(rebuilds) > 3


def test_an_outgrown_index_is_made_anew_when_a_cycle_is_saved_and_at_no_other_time(store, rng, rebuilds, listed):
    database, memory = opened(store)
    memory.add([episode(f"new{i}", rng, cycle=9) for i in range(3)])  # 45 steps: more than are compared one by one
    assert not wrong_neighbours(database, memory, rng)
    memory.save_index(always=True)  # someone leaves
    assert len(rebuilds) == 0
    with database.transaction():
        memory.save_index()
    assert len(rebuilds) == 0
    before = store.with_name("run.db.index").read_bytes()
    memory.save_index()
    assert len(rebuilds) == 1
    assert store.with_name("run.db.index").read_bytes() != before  # though nothing else has changed
    memory.save_index()
    assert len(rebuilds) == 1
    assert not wrong_neighbours(database, memory, rng, ROUNDING)
    database.close()


def test_lists_are_read_again_and_the_rest_replayed(store, rng, rebuilds, listed):
    database, memory = opened(store)
    memory.add([episode(f"new{i}", rng, cycle=9) for i in range(9)])
    memory.search(np.ones(DIMENSION), 1)
    memory.save_index()
    database.close()
    database, memory = opened(store)
    memory.forget_after(8)  # 36 of 63 steps stay
    memory.add([episode(f"newer{i}", rng, cycle=9) for i in range(3)])
    assert not wrong_neighbours(database, memory, rng, ROUNDING)
    assert len(rebuilds) == 1
    database.close()
