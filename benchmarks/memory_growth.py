"""Whether a cycle gets slower as memory fills: two runs of one stream, with few and with many episodes, in turn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.turns import in_turn, line, ratios, told
from envs.collect import collect
from envs.types import Episode, Ticket
from schedules.config import StreamSettings, effective
from schedules.cycle import begin, run_cycle
from schedules.loop import Loop
from schedules.progress import Silent

PLAYED = 200
"""Episodes that are played; the rest are these under other names."""
STREAM = {
    "stream": "growth",
    "regimes": {
        "goto": {"known": True, "world": {"id": "envs.babyai:GoTo-v0", "success": {"info": "success"}}},
        "exchanged": {
            "world": {
                "id": "envs.babyai:GoTo-v0",
                "success": {"info": "success"},
                "drift": [{"type": "controls", "exchange": ["turn left", "turn right"]}],
            }
        },
    },
    "cycles": [{"task": "exchanged", "update": {"type": "grpo", "rounds": 4, "groups": 16}}],
    "exam": {"episodes": 64},
    "gate": {"on": False},
}


def growth(folder: Path, few: int, many: int, rounds: int) -> dict[str, float]:
    """Seconds of a cycle at capacity `many`, against those at `few`: both evict what comes beyond it."""
    loops = {name: _lived(folder / name, count, rounds) for name, count in (("few", few), ("many", many))}

    def cycle(name: str) -> float:
        loop = loops[name]
        return sum(run_cycle(loop, loop.stream.cycles[0], "measured").seconds.values())

    seconds = in_turn({name: lambda _, name=name: cycle(name) for name in loops}, rounds)
    held = {name: loop.memory.stats().episodes for name, loop in loops.items()}
    for loop in loops.values():
        loop.close()
    peer = f"{told(seconds['many'])} s with {held['many']} episodes, {told(seconds['few'])} s with {held['few']}"
    what = "seconds of a cycle, memory full / nearly empty"
    return {"cycle_growth": line(what, ratios(seconds["many"], seconds["few"]), "<= 1.1", peer)}


def _lived(folder: Path, count: int, rounds: int) -> Loop:
    """A run before its first cycle, with `count` episodes of the known task in its memory."""
    plan = {"capacity": max(count, 16), "rehearsal_steps": 256, "lived": 64}
    settings = STREAM | {"memory": plan, "cycles": STREAM["cycles"] * (rounds + 1), "model": {"threads": 2}}
    loop = Loop(effective(StreamSettings.model_validate(settings)), folder, Silent())
    tickets = [Ticket(f"played/{n}", "goto", 10**6 + n, f"played/{n}", 0, 0) for n in range(PLAYED)]
    played = collect(loop.policy, tickets, loop.pool, loop.stream.width)
    loop.memory.add(_named(played, count))
    begin(loop)
    return loop


def _named(played: Sequence[Episode], count: int) -> list[Episode]:
    return [replace(played[n % len(played)], id=f"copy/{n}", group=f"copy/{n}") for n in range(count)]
