"""A stream with a world that is answered openly, a thought first, beside one with a closed set: every phase takes both.

The open world pays for few characters behind the thought, so that answers of a random model differ in reward.
"""

import json
from pathlib import Path

import pytest
from streams import small_stream, write_stream

from schedules.cli import main

WORLD = """
import gymnasium
from gymnasium import spaces
from envs.words import Words

class Brief(gymnasium.Env):
    metadata = {"render_modes": []}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = spaces.Dict({"text": Words()})
        self.action_space = Words()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"text": f"Be brief, {self.np_random.integers(9)}."}, {}

    def step(self, action):
        return {"text": "Done."}, 1 / (1 + len(action)), True, False, {"success": len(action) < 4}

gymnasium.register("Brief-v0", entry_point=Brief)
"""


def test_a_thought_is_learned_from_rehearsed_and_examined(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "brief_world.py").write_text(WORLD)
    settings = small_stream(tiny_folder)
    settings["speech"] = {"longest": 6, "temperature": 0.8, "stop": ["r"]}
    brief = {"id": "brief_world:Brief-v0", "success": {"info": "success"}, "thought": "e", "prompt": "{text} Think."}
    settings["regimes"]["renamed"]["world"] = brief
    settings["cycles"].append({**settings["cycles"][1], "task": "renamed"})
    stream = write_stream(tmp_path / "small.yaml", settings)
    assert main(["run", str(stream), "--dir", str(tmp_path / "run")]) == 0
    cycles = json.loads((tmp_path / "run" / "report.json").read_text())["cycles"]
    assert [cycle["accepted"] for cycle in cycles] == [True, True, True]
    assert [cycle["algorithm"] for cycle in cycles] == ["grpo", "dpo", "dpo"]
    for cycle in cycles:
        assert cycle["update"]["optimizer_steps"] > 0
        assert cycle["update"]["samples_rehearsed"] > 0
        assert cycle["update"]["kl_old_tasks"] == pytest.approx(0, abs=0.5)
    assert cycles[0]["update"]["metrics"]["ratio_max"] == pytest.approx(1, abs=1e-3), "its one step is on-policy"
