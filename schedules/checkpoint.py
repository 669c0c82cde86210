"""The loop's state in the run's database: what was committed is all there is.

The commit point of a cycle is one SQLite transaction. Adapter files are staged and fsynced before it; MLflow is fed
after it, from the outbox. A kill before the commit repeats the cycle with the same ids, one after it repeats nothing.
Random numbers derive from (seed, cycle, use) and optimizers live for one cycle, so neither has state to keep.
"""

import copy
import json
import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from envs.component import UserError
from memory.database import Database

MIGRATIONS = [
    [
        "CREATE TABLE loop_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE loop_cycles (cycle INTEGER PRIMARY KEY, report TEXT NOT NULL, outcomes TEXT NOT NULL, "
        "champion TEXT NOT NULL)",
        "CREATE TABLE loop_outbox (cycle INTEGER PRIMARY KEY, record TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0)",
    ],
    # `sent` lies behind the record: to look for it in the rows is to read every record there ever was
    ["CREATE INDEX loop_outbox_unsent ON loop_outbox (cycle) WHERE sent = 0"],
]
MAY_CHANGE = ("about", "service.triggers", "service.ticks", "tracking")
"""Settings of a stream that decide when something is learned or how it is shown, but not what it is."""
LIBRARIES = ("torch", "transformers", "peft", "gymnasium", "minigrid", "faiss-cpu", "numpy")


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed cycle. `champion` is the folder of the adapter that holds after it, empty for the untouched base."""

    cycle: int
    report: dict[str, Any]
    outcomes: dict[str, Any]
    champion: str


class Ledger:
    """The committed cycles of a run. Cycle 0 is the examination before any training."""

    def __init__(self, database: Database) -> None:
        self.database = database
        database.migrate("loop", MIGRATIONS)

    def bind(self, facts: dict[str, Any]) -> list[str]:
        """Remember what the run was started with, or compare with what it was started with.

        Returns:
            What has changed and may (`MAY_CHANGE`), in words; it holds from now on.

        Raises:
            UserError: a fact that decides results has changed since the run began.
        """
        with self.database.transaction():
            known = {
                name: json.loads(value) for name, value in self.database.execute("SELECT name, value FROM loop_facts")
            }
            told, known = let_change(known, facts)
            for name, value in known.items():
                self.replace_fact(name, value)
            changed = [name for name, value in facts.items() if name in known and known[name] != value]
            if changed:
                name = changed[0]
                place = difference(known[name], facts[name])
                anew = self._embed_command(facts[name]) if place.startswith("memory.embedder") else ""
                raise UserError(
                    f"{name} has changed since this run began:\n  {place}\n"
                    f"Resume with what it began with, {anew}or start a new run in another --dir. "
                    f"{'These may change: ' + ', '.join(MAY_CHANGE) + '.' if name == 'stream' else ''}".rstrip()
                )
            rows = [(name, json.dumps(value)) for name, value in facts.items()]
            self.database.executemany("INSERT OR IGNORE INTO loop_facts VALUES (?, ?)", rows)
        return told

    def _embed_command(self, stream: dict[str, Any]) -> str:
        setting = shlex.quote(f"memory.embedder={json.dumps(stream['memory']['embedder'])}")
        folder = self.database.path.parent
        return f"make its vectors anew by\n  holdtrue memory embed --dir {folder} --set {setting}\n"

    def fact(self, name: str) -> Any:
        """What the run was started with; None if it was not."""
        row = self.database.execute("SELECT value FROM loop_facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def replace_fact(self, name: str, value: Any) -> None:
        """The run goes on with something else; called inside the transaction that makes it so."""
        with self.database.transaction():
            self.database.execute("INSERT OR REPLACE INTO loop_facts VALUES (?, ?)", (name, json.dumps(value)))

    def note(self, name: str, value: Any) -> None:
        """Remember something that is no setting; what was noted by this name before goes."""
        with self.database.transaction():
            self.database.execute("INSERT OR REPLACE INTO loop_facts VALUES (?, ?)", (name, json.dumps(value)))

    def chosen(self) -> dict[str, int]:
        """What was chosen from the machine when the run began (threads, token budget): it is chosen only once."""
        rows = self.database.execute("SELECT name, value FROM loop_facts WHERE name IN ('threads', 'token_budget')")
        return {name: json.loads(value) for name, value in rows}

    def rechoose(self, token_budget: int) -> None:
        """The budget after memory ran out; called inside a cycle's transaction."""
        with self.database.transaction():
            values = (json.dumps(token_budget),)
            self.database.execute("UPDATE loop_facts SET value = ? WHERE name = 'token_budget'", values)

    def cycles(self) -> list[Committed]:
        """All committed cycles in order."""
        rows = self.database.execute("SELECT cycle, report, outcomes, champion FROM loop_cycles ORDER BY cycle")
        return [Committed(c, json.loads(r), json.loads(o), champion) for c, r, o, champion in rows]

    def commit(self, entry: Committed, record: dict[str, Any]) -> None:
        """Write a cycle and its outbox record; called inside the cycle's transaction."""
        with self.database.transaction():
            row = (entry.cycle, json.dumps(entry.report), json.dumps(entry.outcomes), entry.champion)
            self.database.execute("INSERT INTO loop_cycles VALUES (?, ?, ?, ?)", row)
            self.database.execute(
                "INSERT INTO loop_outbox (cycle, record) VALUES (?, ?)", (entry.cycle, json.dumps(record))
            )

    def amend(self, entry: Committed) -> None:
        """Rewrite a committed cycle's report: its seconds are whole only once MLflow was told."""
        with self.database.transaction():
            values = (json.dumps(entry.report), entry.cycle)
            self.database.execute("UPDATE loop_cycles SET report = ? WHERE cycle = ?", values)

    def unsent(self) -> Iterator[dict[str, Any]]:
        """Outbox records MLflow has not confirmed, in order."""
        rows = self.database.execute("SELECT record FROM loop_outbox WHERE sent = 0 ORDER BY cycle").fetchall()
        return (json.loads(record) for (record,) in rows)

    def mark_sent(self, cycle: int) -> None:
        """MLflow has this cycle, its traces too: those are not kept twice."""
        with self.database.transaction():
            sql = "UPDATE loop_outbox SET sent = 1, record = json_remove(record, '$.traces') WHERE cycle = ?"
            self.database.execute(sql, (cycle,))

    def send_again(self) -> int:
        """MLflow has lost what it was told: all of it waits once more. Returns how many cycles that are."""
        with self.database.transaction():
            return self.database.execute("UPDATE loop_outbox SET sent = 0 WHERE sent = 1").rowcount


def environment(threads: int, token_budget: int) -> dict[str, Any]:
    """What must be the same for bits to repeat: versions, threads, token budget."""
    return {
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "threads": threads,
        "token_budget": token_budget,
    }


def let_change(known: dict[str, Any], facts: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What is known, with the settings of `facts` that may change in place of the old ones; and their changes, told."""
    if "stream" not in known:
        return [], known
    old, new, told = copy.deepcopy(known["stream"]), facts["stream"], []
    for setting in MAY_CHANGE:
        *parents, last = setting.split(".")
        was, now = old, new
        for name in parents:
            was, now = was.get(name) or {}, now.get(name) or {}
        if last in was and last in now and was[last] != now[last]:
            told.append(f"Changed since it began, which it may: {difference(was[last], now[last], setting)}.")
            was[last] = now[last]
    return told, known | {"stream": old}


def difference(old: Any, new: Any, at: str = "") -> str:
    """The first place at which two JSON values differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return difference(old.get(key), new.get(key), f"{at}.{key}" if at else key)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            if a != b:
                return difference(a, b, f"{at}.{i}")
    return f"{at or 'value'}: was {old!r}, is {new!r}"
