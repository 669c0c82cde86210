"""Tables of plain words, as several commands print them."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def rows(facts: Sequence[tuple[str, str]]) -> Table:
    """What was seen, one line each."""
    drawn = Table(box=box.SIMPLE_HEAD, show_header=False)
    drawn.add_column(style="dim")
    drawn.add_column()
    for what, seen in facts:
        drawn.add_row(what, Text(seen))
    return drawn


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """A table of plain words; columns named in `right` are aligned there. Ids are never cut: they are copied."""
    drawn = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        whole = column in ("id", "episode")
        drawn.add_column(column, justify="right" if column in right else "left", no_wrap=whole, overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn
