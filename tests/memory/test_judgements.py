"""What was judged stays judged, goes with its episodes, and is never of a cycle that did not happen."""

import numpy as np
import pytest

from memory.judgements import Judgement
from tests.memory.making import assert_consistent, episode


def judgement(name, cycle=0, margin: float | None = 0.5, episodes=("a", "b")):
    return Judgement(name.ljust(16).encode(), "judge", "goto", cycle, episodes, margin)


def test_no_opinion_is_an_opinion_and_the_first_one_stays(memory):
    memory.add_judgements([judgement("x"), judgement("y", margin=None)])
    memory.add_judgements([judgement("x", margin=9.0)])
    keys = [judgement(name).key for name in "xyz"]
    assert memory.judged(keys) == {keys[0]: 0.5, keys[1]: None}
    assert memory.judged([]) == {}


def test_more_keys_than_one_statement_holds(memory):
    many = [judgement(str(n), margin=float(n)) for n in range(1201)]
    memory.add_judgements(many)
    assert memory.judged([j.key for j in many]) == {j.key: j.margin for j in many}


def test_all_or_none_is_stored(memory, database):
    broken = Judgement(b"k", "judge", "goto", 0, ("a",), object())  # type: ignore[arg-type]
    with pytest.raises(Exception, match="type 'object' is not supported"):
        memory.add_judgements([judgement("x"), broken])
    assert memory.judged([judgement("x").key]) == {}


def test_a_cycle_that_is_repeated_was_never_judged(memory):
    memory.add_judgements([judgement("x", cycle=1), judgement("y", cycle=2)])
    memory.forget_after(1)
    assert list(memory.judged([judgement("x").key, judgement("y").key])) == [judgement("x").key]


def test_it_goes_when_the_last_of_its_episodes_goes(memory, database):
    """Capacity 6: of ten episodes four go. A judgement of two stays as long as one of them does."""
    rng = np.random.default_rng(0)
    memory.add([episode(f"e{n}", rng) for n in range(10)])
    memory.add_judgements([judgement(f"{n}", episodes=(f"e{n}", f"e{n + 1}")) for n in range(9)])
    memory.settle(rng)
    left = set(memory.ids())
    assert len(left) == 6
    there = memory.judged([judgement(f"{n}").key for n in range(9)])
    assert set(there) == {judgement(f"{n}").key for n in range(9) if {f"e{n}", f"e{n + 1}"} & left}
    assert len(there) < 9
    assert_consistent(database, memory)
