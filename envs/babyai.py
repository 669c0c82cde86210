"""GoTo: a BabyAI room seen from the agent's own place, and an instruction that matters.

The level is MiniGrid's own (its generator, its grid, its verifier); what is ours is the quick picture, the rule that a
wrong thing walked up to ends the episode, and the step budget. Everything in the room fits the view, so a policy
without memory can win: it turns left until it sees the thing, then goes there.
"""

import itertools
from typing import Any

import gymnasium
import numpy as np
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc

from envs.component import UserError
from envs.rooms import (
    ACTIONS,
    COLOURS,
    FORWARD,
    KINDS,
    LEFT,
    TILE,
    VIEW,
    Layout,
    Pose,
    picture,
    right_action,
    steps_to_go,
    tiles,
    walk,
)
from envs.words import Words


class Level(RoomGridLevel):
    """One BabyAI room; each thing shares its kind or its colour with another one, and any of them may be the goal."""

    def __init__(self, room_size: int, objects: int, kinds: tuple[str, ...], colours: tuple[str, ...]) -> None:
        self.objects = objects
        self.combinations = list(itertools.product(kinds, colours))
        super().__init__(num_rows=1, num_cols=1, room_size=room_size, max_steps=10**9)

    def gen_mission(self) -> None:
        """MiniGrid's hook: place the agent and the things, choose the instruction."""
        self.place_agent()
        things: list[tuple[str, str]] = []
        while len(things) < self.objects:
            left = [c for c in self.combinations if c not in things]
            near = [c for c in left if any(c[0] == k or c[1] == colour for k, colour in things)]
            things.append(self._rand_elem(near or left))
        placed = [self.add_object(0, 0, *thing)[1] for thing in things]
        cells = tuple((int(column), int(row)) for column, row in placed)
        self.target = int(self._rand_int(0, self.objects))
        self.layout = Layout(self.room_size, cells, tuple(things))
        self.instrs = GoToInstr(ObjDesc(*things[self.target]))

    @property
    def pose(self) -> Pose:
        """Where the agent stands and looks."""
        return int(self.agent_pos[0]), int(self.agent_pos[1]), int(self.agent_dir)

    def gen_obs(self) -> dict[str, Any]:
        """MiniGrid's hook: the picture from the atlas instead of the symbolic view."""
        return {"image": picture(tiles(self.layout, self.pose)), "text": self.mission}


class GoTo(gymnasium.Env[dict[str, Any], np.int64]):
    """Go to the thing that is named. Reward 1 when it is in front; a wrong thing walked up to ends the episode.

    Args:
        room_size: with walls; 5 or 6, so that the room fits the view.
        objects: things in the room, 2 to 4, all different.
        kinds: of `ball`, `key`, `box`.
        colours: of `red`, `green`, `blue`, `purple`, `yellow`, `grey`.
        slack: actions allowed beyond the shortest way; then the episode is truncated.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    action_texts = ACTIONS

    def __init__(
        self,
        room_size: int = 6,
        objects: int = 3,
        kinds: tuple[str, ...] = KINDS,
        colours: tuple[str, ...] = COLOURS,
        slack: int = 4,
        render_mode: str | None = None,
    ) -> None:
        _check_options(room_size, objects, tuple(kinds), tuple(colours), slack)
        self.slack = slack
        self.render_mode = render_mode
        self.level = Level(room_size, objects, tuple(kinds), tuple(colours))
        pixels = gymnasium.spaces.Box(0, 255, (VIEW * TILE, VIEW * TILE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(image=pixels, text=Words())
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """A new room. Rooms that an agent without memory can't win in time are drawn again, from the same seed."""
        super().reset(seed=seed)
        obs, _ = self.level.reset(seed=seed)
        while not self._winnable():
            obs, _ = self.level.reset()
        return obs, {"success": False, "potential": self._potential()}

    def _winnable(self) -> bool:
        layout, pose, target = self.level.layout, self.level.pose, self.level.target
        steps = steps_to_go(layout, target)
        if pose not in steps:
            return False
        self.budget = steps[pose] + self.slack
        *_, last = walk(layout, pose, target, self.budget)
        return steps.get(last) == 0

    def step(self, action: np.int64 | int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Turn or go. `info["success"]` says whether the instruction was followed."""
        obs, _, success, _, _ = self.level.step(int(action))
        faced = self.level.grid.get(*self.level.front_pos)
        wrong = int(action) == FORWARD and faced is not None and faced.type != "wall" and not success
        out_of_time = self.level.step_count >= self.budget and not (success or wrong)
        info = {"success": bool(success), "potential": self._potential()}
        return obs, float(success), bool(success or wrong), out_of_time, info

    def expert(self) -> int:
        """The right action for an agent without memory."""
        action = right_action(self.level.layout, self.level.pose, self.level.target)
        return LEFT if action is None else action

    def _potential(self) -> float:
        """Minus a tenth of the shortest way; where there is none, of the whole budget."""
        steps = steps_to_go(self.level.layout, self.level.target)
        return -steps.get(self.level.pose, self.budget) / 10

    def render(self) -> np.ndarray | None:
        """The whole room from above, or None without a render mode."""
        return self.level.get_full_render(True, 32) if self.render_mode == "rgb_array" else None


def _check_options(size: int, objects: int, kinds: tuple[str, ...], colours: tuple[str, ...], slack: int) -> None:
    if size not in (5, 6):
        raise UserError(f"room_size is {size}: the room must fit the {VIEW}x{VIEW} view. Set it to 5 or 6.")
    for name, given, known in (("kinds", kinds, KINDS), ("colours", colours, COLOURS)):
        if not given or set(given) - set(known):
            raise UserError(f"{name} is {list(given)}: take one or more of {', '.join(known)}.")
    most = min(4, len(set(kinds)) * len(set(colours)))
    if not 2 <= objects <= most:
        raise UserError(f"objects is {objects}: these kinds and colours allow 2 to {most}. Set it so, or allow more.")
    if not 0 <= slack <= 64:
        raise UserError(f"slack is {slack}: a budget near the shortest way tests the instruction. Set it to 0..64.")


gymnasium.register("GoTo-v0", entry_point="envs.babyai:GoTo")
