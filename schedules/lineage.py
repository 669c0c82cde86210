"""Where an adapter comes from: one `manifest.json` beside its weights, and the same in few words for MLflow.

Nothing in it depends on a clock or on the folder: a cycle that is repeated after a kill writes the same bytes. It is no
part of the adapter's version. Ids stay in SQLite; the manifest counts and digests them, and says how to get them.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.component import UserError
from memory.schema import LIVED
from schedules.folder import DATABASE

if TYPE_CHECKING:
    from schedules.loop import Loop

MANIFEST = "manifest.json"
FEW = 64
"""So many ids are listed; of more, there are counts and a digest."""
LONGEST_TAG = 500
QUERIES = {
    "episodes": f"SELECT id FROM episodes WHERE cycle = {{cycle}} AND grp != '{LIVED}' ORDER BY number",
    "drawn": "SELECT episode, use, why FROM drawn WHERE cycle = {cycle} ORDER BY number",
    "pairs": "SELECT number, task, source, episodes FROM pairs WHERE cycle = {cycle} ORDER BY number",
}
"""How the ids are had from the run's database: of episodes, as far as memory still keeps them.

What was lived meanwhile bears the cycle's number as well, and the cycle did not see it.
"""


def manifest(loop: "Loop", task: str, algorithm: str) -> dict[str, Any]:
    """What the candidate of the cycle that is going on learned from, as JSON-able data. Call it before the commit."""
    cycle, ledger = loop.next_cycle, loop.ledger
    with loop.policy.using("champion"):
        parent = {"adapter": loop.committed[-1].champion, "version": loop.policy.version}
    sql = "SELECT task, id FROM episodes WHERE cycle = ? AND grp != ?"
    played = loop.database.execute(sql, (cycle, LIVED)).fetchall()
    pairs = loop.database.execute("SELECT task || ' by ' || source, hex(key) FROM pairs WHERE cycle = ?", (cycle,))
    with loop.policy.using("candidate"):
        own = loop.policy.version
    return {
        "version": own,
        "parent": parent,
        "base": loop.policy.checkpoint.identity,
        "cycle": cycle,
        "task": task,
        "algorithm": algorithm,
        "episodes": told(played),
        "drawn": told(loop.memory.draws.waiting(cycle)),
        "pairs": told(pairs.fetchall()),
        "how": {"database": DATABASE} | {name: sql.format(cycle=cycle) for name, sql in QUERIES.items()},
        "stream": loop.stream.stream,
        "seed": loop.stream.seed,
        "settings": digest(loop.stream.model_dump(mode="json")),
        "libraries": ledger.fact("libraries"),
        "code": code(),
    }


def told(rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """(kind, id) pairs as counts by kind with a digest of the sorted ids, and the ids themselves where they are few."""
    found = sorted(rows, key=lambda row: row[1])
    kinds = sorted({kind for kind, _ in found})
    ids = [name for _, name in found]
    return {
        "count": len(ids),
        "by": {kind: sum(of == kind for of, _ in found) for kind in kinds},
        "digest": digest(ids),
        **({"ids": ids} if len(ids) <= FEW else {}),
    }


def digest(value: Any) -> str:
    """16 hex digits of JSON-able data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@cache
def code(package: Path = Path(__file__).parent) -> str:
    """The commit of this code (with `-dirty` where files differ), or its version where it is not in a checkout."""
    ask = ["git", "-C", str(package)]
    try:  # a package installed inside somebody's checkout isn't of that checkout
        subprocess.run(
            [*ask, "ls-files", "--error-unmatch", "__init__.py"], check=True, timeout=10, capture_output=True
        )
        found = subprocess.run(
            [*ask, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True, timeout=10, capture_output=True, text=True,
        )  # fmt: skip
        return f"git {found.stdout.strip()}"
    except (OSError, subprocess.SubprocessError):
        return f"holdtrue {version('holdtrue')}"


def read(adapter: Path) -> dict[str, Any]:
    """The manifest of an adapter's folder; empty for one that was written before there were any.

    Raises:
        UserError: it is there and is no manifest.
    """
    path = adapter / MANIFEST
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} does not read as JSON ({error}). Restore it from a copy, or delete it.") from error
    return found if isinstance(found, dict) else {}


def tags(found: Mapping[str, Any]) -> dict[str, str]:
    """A manifest as tags of MLflow, each of bounded length; none where there is no manifest."""
    if not found:
        return {}
    libraries = ", ".join(f"{name} {number}" for name, number in (found["libraries"] or {}).items())
    said = {
        "adapter": found["version"],
        "parent": f"{found['parent']['adapter'] or 'untouched model'} {found['parent']['version']}",
        "base": found["base"],
        "episodes": _said(found["episodes"]),
        "drawn": _said(found["drawn"]),
        "pairs": _said(found["pairs"]),
        "seed": str(found["seed"]),
        "settings": found["settings"],
        "libraries": libraries,
        "code": found["code"],
    }
    return {f"holdtrue.{name}": text[:LONGEST_TAG] for name, text in said.items()}


def _said(found: Mapping[str, Any]) -> str:
    by = ", ".join(f"{kind} {count}" for kind, count in found["by"].items())
    return f"{found['count']} (digest {found['digest']}){': ' if by else ''}{by}"
