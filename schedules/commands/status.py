"""`holdtrue status`: what a service lives in, what is due, what was decided, and what has moved."""

import json
import sqlite3
from argparse import Namespace
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from schedules.commands.remembering import run_folder
from schedules.control import alive, behind, control_of
from schedules.folder import DATABASE

SHOWN = 5
Rows = list[tuple[str, str]]


def main(args: Namespace) -> None:
    """Print it."""
    console = Console()
    folder = run_folder(args)
    table = Table(show_header=False, box=None, padding=(0, 2), title=str(folder), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, told in [*sign_of_life(folder, datetime.now(UTC)), *inside(folder)]:
        table.add_row(name, told)
    console.print(table, markup=False, highlight=False)


def sign_of_life(folder: Path, now: datetime) -> Rows:
    """Whether somebody serves, at what, when it was last heard of, and what holds it up."""
    with control_of(folder) as control:
        beat, paused = control.last_beat(), control.paused
    if not beat:
        return [("service", "never served")]
    seconds = (now - datetime.fromisoformat(beat["at"])).total_seconds()
    doing = beat["doing"] if alive(beat) or not beat["pid"] else f"gone without a word, while {beat['doing']}"
    process = f" (pid {beat['pid']})" if alive(beat) else ""
    rows = [("service", f"{doing}{process}"), ("last tick", f"{seconds:.0f} s ago")]
    if paused:
        rows.append(("paused", f"{paused.rstrip('.')}. Go on with:  holdtrue resume --dir {folder}"))
    late = behind(beat)
    if late:
        told = f"it went back by {late:.0f} s; what is due by the clock waits until it is {beat['latest'][:19]} again"
        rows.append(("clock", f"{told} ('holdtrue cycle now' does not wait)"))
    return rows


def inside(folder: Path) -> Rows:
    """What the run's own file says."""
    with closing(reading(folder / DATABASE)) as store:
        if not store.execute("SELECT 1 FROM sqlite_master WHERE name = 'life_facts'").fetchone():
            return [("life", "this run is led by its planned cycles: there is none")]
        return [*life(store), *queue(store), *verdicts(store), *alarms(store)]


def reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing; it may be open while the service has the file."""
    connection = sqlite3.connect(path, timeout=30)
    connection.execute("PRAGMA query_only = ON")
    return connection


def life(store: sqlite3.Connection) -> Rows:
    """Episodes lived, by regime."""
    row = store.execute("SELECT value FROM life_facts WHERE name = 'come'").fetchone()
    lived = json.loads(row[0])["lived"] if row else {}
    each = ", ".join(f"{count:,} in {name}" for name, count in lived.items())
    return [("lived", f"{sum(lived.values()):,} episodes{f': {each}' if each else ''}")]


def queue(store: sqlite3.Connection) -> Rows:
    """What is due, oldest first."""
    rows = store.execute("SELECT task, reason FROM loop_queue WHERE state = 'due' ORDER BY id").fetchall()
    return [("due", f"{task or 'whichever needs it'}: {reason}") for task, reason in rows] or [("due", "nothing")]


def verdicts(store: sqlite3.Connection) -> Rows:
    """The last cycles."""
    sql = "SELECT cycle, report FROM loop_cycles WHERE cycle > 0 ORDER BY cycle DESC LIMIT ?"
    told = [(cycle, json.loads(report)) for cycle, report in store.execute(sql, (SHOWN,))]
    return [(f"cycle {cycle}", f"{report['task']}, {report['reason']}: {report['verdict']}") for cycle, report in told]


def alarms(store: sqlite3.Connection) -> Rows:
    """The last alarms."""
    sql = "SELECT made_at, json_extract(alarm, '$.sentence') FROM life_alarms ORDER BY number DESC LIMIT ?"
    return [
        ("alarm", f"{made_at[:19].replace('T', ' ')} UTC: {told}") for made_at, told in store.execute(sql, (SHOWN,))
    ]
