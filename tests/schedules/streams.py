"""A stream small enough for tests: the tiny model, the identity world, and the same with other words."""

from pathlib import Path
from typing import Any

import yaml


def small_stream(model: Path, **changes: Any) -> dict[str, Any]:
    """Two regimes, two cycles; the gate is off, so both are kept."""
    cat = {"id": "envs.copycat:Copycat-v0", "kwargs": {"words": ["red", "green"]}, "success": {"info": "success"}}
    renamed = {**cat, "drift": [{"type": "renamed", "names": {"red": "sun", "green": "moon"}}]}
    sizes = {"groups": 4, "group_size": 4, "rehearsal_batch": 8}
    return {
        "stream": "small",
        "model": {"path": str(model), "threads": 1},
        "lora": {"rank": 2, "alpha": 4},
        "regimes": {"copycat": {"known": True, "world": cat}, "renamed": {"world": renamed}},
        "cycles": [
            {"task": "renamed", "update": {"type": "grpo", "rounds": 2, **sizes}},
            {"task": "copycat", "update": {"type": "dpo", "rounds": 1, **sizes}},
        ],
        "exam": {"episodes": 8},
        "gate": {"on": False},
        "memory": {"lived": 8, "rehearsal_steps": 8},
        **changes,
    }


def write_stream(path: Path, stream: dict[str, Any]) -> Path:
    """As a YAML file."""
    path.write_text(yaml.safe_dump(stream, sort_keys=False))
    return path
