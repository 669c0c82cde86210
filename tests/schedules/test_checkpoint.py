"""The ledger: what is committed is all there is."""

from pathlib import Path

import pytest

from envs.component import UserError
from memory.database import Database
from schedules.checkpoint import Committed, Ledger, difference, environment

ENTRY = Committed(0, {"cycle": 0}, {"cells": []}, "")


def test_a_commit_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    with Database(tmp_path / "run.db") as database:
        ledger = Ledger(database)
        ledger.commit(ENTRY, {"cycle": 0})
        ledger.commit(Committed(1, {"cycle": 1}, {"cells": [None]}, "adapters/cycle-001"), {"cycle": 1})
    with Database(tmp_path / "run.db") as database:
        cycles = Ledger(database).cycles()
    assert cycles[0] == ENTRY
    assert cycles[1].champion == "adapters/cycle-001"


def test_a_cycle_is_committed_once(tmp_path: Path) -> None:
    with Database(tmp_path / "run.db") as database:
        ledger = Ledger(database)
        ledger.commit(ENTRY, {"cycle": 0})
        with pytest.raises(Exception, match="UNIQUE"):
            ledger.commit(ENTRY, {"cycle": 0})
        assert len(ledger.cycles()) == 1


def test_a_failure_inside_the_transaction_commits_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "run.db") as database:
        ledger = Ledger(database)
        with pytest.raises(Exception, match="UNIQUE"):
            commit_twice(database, ledger)
        assert ledger.cycles() == []
        assert list(ledger.unsent()) == []


def commit_twice(database: Database, ledger: Ledger) -> None:
    """One transaction of which the second half fails."""
    with database.transaction():
        ledger.commit(ENTRY, {"cycle": 0})
        ledger.commit(ENTRY, {"cycle": 0})


def test_the_outbox_keeps_its_order_until_confirmed(tmp_path: Path) -> None:
    with Database(tmp_path / "run.db") as database:
        ledger = Ledger(database)
        for cycle in range(3):
            ledger.commit(Committed(cycle, {}, {}, ""), {"cycle": cycle})
        ledger.mark_sent(0)
        assert [record["cycle"] for record in ledger.unsent()] == [1, 2]


def test_traces_wait_with_their_cycle_and_are_not_kept_twice(tmp_path: Path) -> None:
    with Database(tmp_path / "run.db") as database:
        ledger = Ledger(database)
        for cycle in range(2):
            ledger.commit(Committed(cycle, {}, {}, ""), {"cycle": cycle, "traces": [{"id": "a"}]})
        ledger.mark_sent(0)
        assert [record["traces"] for record in ledger.unsent()] == [[{"id": "a"}]]
        assert ledger.send_again() == 1
        assert list(ledger.unsent()) == [{"cycle": 0}, {"cycle": 1, "traces": [{"id": "a"}]}]


def test_seconds_are_amended_and_nothing_else(tmp_path: Path) -> None:
    with Database(tmp_path / "run.db") as database:
        ledger = Ledger(database)
        ledger.commit(ENTRY, {})
        ENTRY.report["seconds"] = {"tracking": 1.5}
        ledger.amend(ENTRY)
        assert ledger.cycles() == [ENTRY]
        del ENTRY.report["seconds"]


def test_what_the_run_began_with_must_not_change(tmp_path: Path) -> None:
    facts = {"stream": {"exam": {"episodes": 128}, "cycles": [{"task": "a"}]}}
    with Database(tmp_path / "run.db") as database:
        Ledger(database).bind(facts)
        Ledger(database).bind(facts)
        changed = {"stream": {"exam": {"episodes": 64}, "cycles": [{"task": "a"}]}}
        with pytest.raises(UserError, match=r"stream has changed .*\n  exam.episodes: was 128, is 64\n.*another --dir"):
            Ledger(database).bind(changed)


def test_the_first_difference_is_named() -> None:
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == "a.1.b: was 2, is 3"
    assert difference({"a": 1}, {}) == "a: was 1, is None"
    assert difference([1], [1, 2]) == "value: was [1], is [1, 2]"


def test_the_environment_names_what_decides_bits() -> None:
    facts = environment(2, 4096)
    assert (facts["threads"], facts["token_budget"]) == (2, 4096)
    assert {"torch", "transformers", "numpy"} <= set(facts["libraries"])
