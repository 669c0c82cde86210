"""What can be mended of a damaged memory: what can't be read goes and is named, counts and index are made anew."""

from memory.judgements import Judgements
from memory.parts import Parts
from memory.schema import STEP_BITS
from memory.verify import Health

_ORPHANS = (
    f"DELETE FROM steps WHERE number >> {STEP_BITS} NOT IN (SELECT number FROM episodes)",
    "DELETE FROM vectors WHERE episode NOT IN (SELECT number FROM episodes)",
    "DELETE FROM judgements WHERE NOT json_valid(episodes)",
)
_UNUSED = (
    "DELETE FROM pictures WHERE uses = 0",
    "DELETE FROM picture_data WHERE number NOT IN (SELECT number FROM pictures)",
)


def repair(parts: Parts, health: Health) -> list[str]:
    """Mend what `verify` found, except a damaged file and what `health.rest` says.

    Returns:
        What was removed, one line each.
    """
    if health.file:
        return []
    names = parts.episodes.ids(list(health.episodes))
    told = [f"episode {names[number]} ({why})" for number, why in sorted(health.episodes.items())]
    told += [f"pair {number} ({why})" for number, why in sorted(health.pairs.items())]
    with parts.database.transaction():
        if health.episodes or health.pairs or health.loose:
            _remove(parts, health)
            _count_again(parts)
    if not health.rest:
        rebuild(parts)
    return told


def rebuild(parts: Parts) -> None:
    """Make the vector index and its file anew from SQLite.

    Raises:
        UserError: the vectors of an episode are missing or cut short; the disk is full.
    """
    parts.vectors.discard_file()
    parts.vectors.rebuild()
    parts.vectors.save(always=True)


def _remove(parts: Parts, health: Health) -> None:
    """Not by `Episodes.delete`: what that needs to read may be what is damaged."""
    database = parts.database
    rows = database.execute("SELECT number, length, cycle FROM episodes").fetchall()
    lengths = {number: length for number, length, _ in rows}
    parts.vectors.drop([(number, lengths[number]) for number in health.episodes])
    database.executemany("DELETE FROM episodes WHERE number = ?", [(number,) for number in health.episodes])
    database.executemany("DELETE FROM pairs WHERE number = ?", [(number,) for number in health.pairs])
    for sql in _ORPHANS:
        database.execute(sql)
    cycles = [cycle for number, _, cycle in rows if number in health.episodes]
    parts.pairs.forget_gone(cycles)
    Judgements(database).forget_gone(cycles)


def _count_again(parts: Parts) -> None:
    """Counts of use from what is shown; pictures that nothing shows go."""
    database = parts.database
    uses = [(count, number) for number, count in parts.pictures.shown().items()]
    database.execute("UPDATE pictures SET uses = 0")
    database.executemany("UPDATE pictures SET uses = ? WHERE number = ?", uses)
    for sql in _UNUSED:
        database.execute(sql)
