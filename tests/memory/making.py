"""Episodes to remember, and a way to compare them to the last bit."""

from typing import Any

import numpy as np

from envs.types import Action, Episode, Observation, Step, StopReason
from memory.database import Database
from memory.store import ReplayMemory

CHOICES = ("turn left", "turn right", "go forward")


def action(text: str = "go forward", command: Any = 2, logprob: float = -0.5, **changes: Any) -> Action:
    tokens = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    logprobs = np.zeros(len(tokens), np.float32)
    logprobs[:1] = logprob
    return Action(
        **(
            {
                "text": text,
                "tokens": tokens,
                "logprobs": logprobs,
                "mode": "closed",
                "command": command,
                "readable": True,
            }
            | changes
        )
    )


def picture(rng: np.random.Generator, size: int = 16) -> np.ndarray:
    """Flat tiles, as simulated worlds draw them: uint8 [size, size, 3]."""
    tiles = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return tiles.repeat(size // 4, axis=0).repeat(size // 4, axis=1)


def step(observation: Observation, **changes: Any) -> Step:
    return Step(
        **(
            {
                "observation": observation,
                "choices": CHOICES,
                "action": action(),
                "reward": 0.0,
                "cost": 0.0,
                "terminated": False,
                "truncated": False,
                "info": {},
            }
            | changes
        )
    )


def episode(
    name: str, rng: np.random.Generator, task: str = "goto", length: int = 3, success: bool = True, **changes: Any
) -> Episode:
    """`length` steps of random pictures; the last one is rewarded if it is a success."""
    seen = [Observation(f"<image>Go to the {name} thing.", (picture(rng),)) for _ in range(length + 1)]
    steps = tuple(
        step(
            observation,
            action=action(CHOICES[place % 3], place % 3, float(rng.normal())),
            reward=float(success and place == length - 1),
            terminated=place == length - 1,
            info={"place": place},
        )
        for place, observation in enumerate(seen[:-1])
    )
    return Episode(
        **(
            {
                "id": name,
                "task": task,
                "seed": int(rng.integers(1 << 40)),
                "group": f"{task}-g",
                "member": 0,
                "cycle": 0,
                "policy_version": "v0",
                "steps": steps,
                "final": seen[-1],
                "stop": StopReason.TERMINATED,
                "success": success,
            }
            | changes
        )
    )


def bits(value: Any) -> Any:
    """What must be equal for two values to be the same to the last bit, types included."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return "float", float(value).hex() if value == value else "nan"
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(item) for item in value]
    if isinstance(value, dict):
        return "dict", sorted((key, bits(item)) for key, item in value.items())
    if hasattr(type(value), "__dataclass_fields__"):
        return type(value).__name__, [bits(getattr(value, name)) for name in type(value).__dataclass_fields__]
    return type(value).__name__, value


def assert_consistent(database: Database, memory: ReplayMemory, dimension: int = 32) -> None:
    """Every table says the same: no orphan, no picture without use, each use counted, each step found."""
    numbers = [n for (n,) in database.execute("SELECT number FROM episodes ORDER BY number")]
    assert [n for (n,) in database.execute("SELECT episode FROM vectors ORDER BY episode")] == numbers
    steps = [n for (n,) in database.execute("SELECT number FROM steps ORDER BY number")]
    lengths = dict(database.execute("SELECT number, length FROM episodes"))
    assert steps == [(n << 20) + place for n in numbers for place in range(lengths[n])]
    uses: dict[int, int] = {}
    for table, column in (("steps", "pictures"), ("episodes", "final_pictures"), ("pairs", "pictures")):
        for (data,) in database.execute(f"SELECT {column} FROM {table}"):
            for number in np.frombuffer(data, "<i8").tolist():
                uses[number] = uses.get(number, 0) + 1
    assert dict(database.execute("SELECT number, uses FROM pictures")) == uses
    assert {n for (n,) in database.execute("SELECT number FROM picture_data")} == set(uses)
    stats = memory.stats()
    assert (stats.episodes, stats.steps) == (len(numbers), len(steps))
    probe = np.ones(dimension, np.float32)
    assert len(memory.search(probe, len(steps) + 5)) == len(steps)
