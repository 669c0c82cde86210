"""How much is novelty to be compared with? All that is remembered, little of it, or a bounded part of much.

    python -m benchmarks.judging_novelty [--json FILE] [--quick]

The pilot lives through the worlds of `benchmarks.judging_drift`, after 5000 episodes of goto as it was. Each row reads
the same episodes against another memory, or by another bound (`memory.novelty.MOST`), and draws the same streams.
"""

from unittest.mock import patch

from benchmarks.judging_drift import OBSERVATION, observation_table
from benchmarks.living import REMEMBERED, played, read
from benchmarks.runs import arguments, finish, machine
from memory import novelty

ALL = 10**9
ROWS = ((200, ALL), (1000, ALL), (5000, ALL), (5000, novelty.MOST), (5000, novelty.MOST // 2))
"""Episodes remembered, and steps that are compared with at the most."""


def main() -> None:
    """Measure, print a table a row, write the figures of the bound that holds."""
    given = arguments(__doc__ or "")
    rows = ((50, ALL), (200, 256)) if given.quick else ROWS
    as_it_was, drifted, streams = (150, 50, 10) if given.quick else (600, 200, 50)
    print(f"{machine()}\n", flush=True)
    embedder, met = played(as_it_was, drifted, max(episodes for episodes, _ in rows))
    told: dict[str, float | None] = {}
    for episodes, most in rows:
        known = met[REMEMBERED][:episodes]
        steps = sum(len(episode.steps) for episode in known)
        print(f"\n== {episodes} episodes of {steps} steps remembered, {min(most, steps)} of them compared with")
        with patch.object(novelty, "MOST", most):
            lives = read(embedder, {**met, REMEMBERED: known})
        figures = observation_table(lives, streams, {"novelty": OBSERVATION["novelty"]})
        told |= {f"{name}_{episodes}_{most}": value for name, value in figures.items()}
    finish(told, given.json)


if __name__ == "__main__":
    main()
