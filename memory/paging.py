"""How much of the file the memory takes, reckoned from content.

SQLite's pages are not counted themselves: how full they are depends on what was deleted before, so a run that was
stopped and resumed would forget other episodes than one that never was. What is reckoned is within a few percent of
the pages in use.
"""

import numpy as np

from memory.database import Database

MEGABYTE = 1_000_000
PAGE = 4096
_STEP_ROW, _EPISODE_ROWS = 32, 300  # heads of rows, entries of indexes
_CELL = 24  # head of a BLOB's row


def blob_bytes(sizes: np.ndarray) -> np.ndarray:
    """What rows with a BLOB of so many bytes take, int64 `[n]` -> int64 `[n]`.

    A long one lies on pages of its own, and what is left over beside its row (https://sqlite.org/fileformat.html, 1.6);
    rows that don't fit a page together leave a part of it empty.
    """
    rows = sizes + _CELL
    most, least, chain = PAGE - 35, (PAGE - 12) * 32 // 255 - 23, PAGE - 4
    over = least + (rows - least) % chain
    local = np.where(rows <= most, rows, np.where(over <= most, over, least))
    return PAGE // np.maximum(1, (PAGE - 8) // local) + PAGE * (-(-(rows - local) // chain))


def charged(own: np.ndarray, lengths: np.ndarray, vector_bytes: int) -> np.ndarray:
    """What episodes take without their pictures, int64 `[n]`.

    Args:
        own: bytes of their texts and BLOBs and those of their steps.
        lengths: steps.
        vector_bytes: of a step's vector.
    """
    return own + _EPISODE_ROWS + _STEP_ROW * lengths + blob_bytes(lengths * vector_bytes)


def used_bytes(database: Database) -> int:
    """What the whole file takes by SQLite's own count, free pages left out."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def picture_bytes(database: Database) -> int:
    """What all pictures take, each once; those that only pairs show count too."""
    rows = database.execute("SELECT length(data) FROM picture_data")  # summed up here: GROUP BY would read the pictures
    sizes = np.fromiter((size for (size,) in rows), np.int64)
    return int(blob_bytes(sizes).sum()) + 80 * len(sizes)  # the row that counts who shows it
