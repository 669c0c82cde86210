"""The tables of the memory, version by version. Add a migration at the end; never change one that was released.

Numbers that name rows are never given twice (AUTOINCREMENT), so an index that lags behind cannot confuse two rows.
A step's number is its episode's, shifted, plus its place: steps of an episode lie together and need no index.
"""

from memory.database import Migration
from memory.halving import halve_vectors

STEP_BITS = 20
"""A step's number = episode number << STEP_BITS | place in the episode."""

LIVED = "life"
"""The group of episodes that a champion merely lived through: no cycle's, so none takes them with it."""

_EPISODES = """
CREATE TABLE episodes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    seed INTEGER NOT NULL,
    grp TEXT NOT NULL,
    member INTEGER NOT NULL,
    cycle INTEGER NOT NULL,
    policy_version TEXT NOT NULL,
    stop TEXT NOT NULL,
    success INTEGER NOT NULL,
    length INTEGER NOT NULL,          -- steps
    gain BLOB NOT NULL,               -- undiscounted return, float64
    final_text TEXT NOT NULL,
    final_pictures BLOB NOT NULL,     -- picture numbers, int64
    priority REAL NOT NULL,           -- 0..1 from a hash of the id: what a reservoir keeps
    seen INTEGER NOT NULL,            -- cycle in which it was made or last rehearsed
    uses INTEGER NOT NULL DEFAULT 0   -- how often it was rehearsed
)"""

_STEPS = """
CREATE TABLE steps (
    number INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    pictures BLOB NOT NULL,
    choices TEXT,
    said TEXT NOT NULL,
    tokens BLOB NOT NULL,             -- int64
    logprobs BLOB NOT NULL,           -- float32, nats
    mode TEXT NOT NULL,
    command TEXT NOT NULL,            -- JSON
    readable INTEGER NOT NULL,
    numbers BLOB NOT NULL,            -- reward, cost: float64
    ended INTEGER NOT NULL,           -- 1 terminated, 2 truncated
    info TEXT NOT NULL                -- JSON
)"""

_PAIRS = """
CREATE TABLE pairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,         -- blake2b of what was judged: storing twice stores once
    task TEXT NOT NULL,
    cycle INTEGER NOT NULL,
    source TEXT NOT NULL,
    margin REAL NOT NULL,
    text TEXT NOT NULL,
    pictures BLOB NOT NULL,
    choices TEXT,
    chosen TEXT NOT NULL, chosen_tokens BLOB NOT NULL, chosen_logprobs BLOB NOT NULL, chosen_mode TEXT NOT NULL,
    chosen_command TEXT NOT NULL, chosen_readable INTEGER NOT NULL,
    rejected TEXT NOT NULL, rejected_tokens BLOB NOT NULL, rejected_logprobs BLOB NOT NULL,
    rejected_mode TEXT NOT NULL, rejected_command TEXT NOT NULL, rejected_readable INTEGER NOT NULL,
    reference_chosen REAL,            -- nats
    reference_rejected REAL
)"""

_JUDGEMENTS = """
CREATE TABLE judgements (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,         -- blake2b of who judged and of what was shown: nobody is asked twice
    source TEXT NOT NULL,             -- the annotator
    task TEXT NOT NULL,
    cycle INTEGER NOT NULL,
    episodes TEXT NOT NULL,           -- JSON list of the ids whose answers were judged
    margin REAL                       -- how much better the first is than the second; NULL: no opinion
)"""

_MEASURE_BYTES = f"""
UPDATE episodes SET bytes = length(id) + length(task) + length(grp) + length(policy_version) + length(stop) +
    length(gain) + length(final_text) + length(final_pictures) + coalesce((
        SELECT sum(length(text) + length(pictures) + coalesce(length(choices), 0) + length(said) + length(tokens) +
                   length(logprobs) + length(mode) + length(command) + length(numbers) + length(info))
        FROM steps WHERE steps.number >= episodes.number << {STEP_BITS}
                     AND steps.number < (episodes.number + 1) << {STEP_BITS}), 0)"""

VECTORS = "(episode INTEGER PRIMARY KEY, embedder INTEGER NOT NULL REFERENCES embedders, data BLOB NOT NULL)"
"""Columns of the table of vectors, and of the one that takes its place when another embedder makes them anew."""

MIGRATIONS: list[Migration] = [
    (
        _EPISODES,
        "CREATE INDEX episodes_by_task ON episodes (task, cycle)",
        "CREATE INDEX episodes_by_cycle ON episodes (cycle)",
        _STEPS,
        "CREATE TABLE pictures (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, "
        "uses INTEGER NOT NULL)",
        # apart from their counts of use, so that counting does not write the picture again
        "CREATE TABLE picture_data (number INTEGER PRIMARY KEY, shape BLOB NOT NULL, codec INTEGER NOT NULL, "
        "data BLOB NOT NULL)",
        "CREATE TABLE embedders (number INTEGER PRIMARY KEY, version TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL)",
        f"CREATE TABLE vectors {VECTORS}",
        # what the vector index has still to follow: an episode that came (1) or went (0)
        "CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, episode INTEGER NOT NULL, "
        "came INTEGER NOT NULL, length INTEGER NOT NULL)",
        _PAIRS,
        # the store's own name, so that no index file of another one is ever believed; nothing else depends on it
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "INSERT INTO facts VALUES ('store', lower(hex(randomblob(16))))",
        "CREATE INDEX pairs_by_cycle ON pairs (cycle)",
    ),
    (
        # largest mean KL(who played it || champion now) in nats that a rehearsal has measured since it was stored
        "ALTER TABLE episodes ADD COLUMN drift REAL NOT NULL DEFAULT 0",
        # of its texts and BLOBs and those of its steps, without vectors and pictures
        "ALTER TABLE episodes ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
        _MEASURE_BYTES,
        # JSON list of the ids of the episodes whose answers these are, so that forgetting one forgets its pairs
        "ALTER TABLE pairs ADD COLUMN episodes TEXT NOT NULL DEFAULT '[]'",
        # who was drawn for what, and why: by id, since an evicted episode was still learned from
        "CREATE TABLE drawn (number INTEGER PRIMARY KEY AUTOINCREMENT, cycle INTEGER NOT NULL, episode TEXT NOT NULL, "
        "use TEXT NOT NULL, why TEXT NOT NULL)",
        "CREATE INDEX drawn_by_episode ON drawn (episode)",
        "CREATE INDEX drawn_by_cycle ON drawn (cycle)",
        _JUDGEMENTS,
        "CREATE INDEX judgements_by_cycle ON judgements (cycle)",
    ),
    (halve_vectors,),
]
