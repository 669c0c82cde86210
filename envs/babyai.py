"""GoTo: a BabyAI room seen from the agent's own place, and an instruction that matters.

The level is MiniGrid's own (its generator, its grid, its tiles, its verifier); what is ours is the picture (tiles are
looked up instead of drawn: the same pixels, far quicker), the rule that a wrong thing walked up to ends the episode,
the step budget, and the expert. Everything in the room fits the view, so a policy without memory can win: it turns
left until it sees the thing, then goes there.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from minigrid.core.constants import DIR_TO_VEC
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Key, Wall
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc

from envs.component import UserError

KINDS = ("ball", "key", "box")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
ACTIONS = ("turn left", "turn right", "go forward")
LEFT, RIGHT, FORWARD = range(3)
VIEW = 7  # tiles a side
TILE = 8  # pixels a side
UNSEEN, EMPTY, WALL, AGENT, FIRST_THING = range(5)  # rows of the atlas; things follow, kind by kind
_TEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?+-_'\n"

Pose = tuple[int, int, int]
"""Column, row, direction (0 east, 1 south, 2 west, 3 north)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A room with things in it: `cells` are their (column, row), `things` their (kind, colour)."""

    size: int
    cells: tuple[tuple[int, int], ...]
    things: tuple[tuple[str, str], ...]


# -- the picture ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def atlas() -> np.ndarray:
    """Every tile a view can hold, by MiniGrid's own renderer: uint8 `[tiles, 8, 8, 3]`."""
    classes = {"ball": Ball, "key": Key, "box": Box}
    plain = [
        Grid.render_tile(None, None, False, TILE),
        Grid.render_tile(None, None, True, TILE),
        Grid.render_tile(Wall(), None, True, TILE),
        Grid.render_tile(None, 3, True, TILE),
    ]
    drawn = [Grid.render_tile(classes[k](c), None, True, TILE) for k, c in itertools.product(KINDS, COLOURS)]
    return np.stack(plain + drawn).astype(np.uint8)


def tile_of(kind: str, colour: str) -> int:
    """Row of the atlas that shows this thing."""
    return FIRST_THING + KINDS.index(kind) * len(COLOURS) + COLOURS.index(colour)


@lru_cache(maxsize=4096)
def view_cells(size: int, pose: Pose) -> np.ndarray:
    """Which cell of the room each tile of the view shows, int64 `[49]`: row * size + column, or one past the last cell
    for a tile that is not seen. Things hide nothing in MiniGrid, so this depends on the walls alone."""
    room = Grid(size, size)
    room.wall_rect(0, 0, size, size)
    column, row, direction = pose
    ahead, aside = DIR_TO_VEC[direction], DIR_TO_VEC[(direction + 1) % 4]
    seen = Grid(VIEW, VIEW)
    cells = np.full((VIEW, VIEW), size * size, dtype=np.int64)  # [row of the view, column of the view]
    for down, across in itertools.product(range(VIEW), range(VIEW)):
        x, y = np.array([column, row]) + (VIEW - 1 - down) * ahead + (across - VIEW // 2) * aside
        inside = 0 <= x < size and 0 <= y < size
        seen.set(across, down, room.get(x, y) if inside else Wall())
        if inside:
            cells[down, across] = y * size + x
    visible = seen.process_vis((VIEW // 2, VIEW - 1))
    return np.where(visible.T, cells, size * size).reshape(-1)


@lru_cache(maxsize=4096)
def _codes(layout: Layout) -> np.ndarray:
    codes = np.full((layout.size, layout.size), WALL, dtype=np.int64)
    codes[1:-1, 1:-1] = EMPTY
    for (column, row), thing in zip(layout.cells, layout.things, strict=True):
        codes[row, column] = tile_of(*thing)
    return np.append(codes, UNSEEN)


def tiles(layout: Layout, pose: Pose) -> np.ndarray:
    """What the agent sees, as rows of the atlas: int64 `[49]`, the far row first."""
    seen = _codes(layout)[view_cells(layout.size, pose)]
    seen[VIEW * (VIEW - 1) + VIEW // 2] = AGENT
    return seen


def picture(seen: np.ndarray) -> np.ndarray:
    """Tiles `[49]` -> pixels, uint8 `[56, 56, 3]`."""
    rows = atlas()[seen].reshape(VIEW, VIEW, TILE, TILE, 3)
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(VIEW * TILE, VIEW * TILE, 3)


# -- the expert -------------------------------------------------------------------------------------------------------


def _front(pose: Pose) -> tuple[int, int]:
    ahead = DIR_TO_VEC[pose[2]]
    return pose[0] + int(ahead[0]), pose[1] + int(ahead[1])


def moved(layout: Layout, pose: Pose, action: int) -> Pose:
    """The pose after an action."""
    if action != FORWARD:
        return pose[0], pose[1], (pose[2] + (1 if action == RIGHT else 3)) % 4
    ahead = _front(pose)
    inside = all(0 < part < layout.size - 1 for part in ahead)
    return (*ahead, pose[2]) if inside and ahead not in layout.cells else pose


def _spoils(layout: Layout, then: Pose, action: int, target: int) -> bool:
    """Whether an action that led to a pose has walked up to a wrong thing."""
    ahead = _front(then)
    return action == FORWARD and ahead in layout.cells and ahead != layout.cells[target]


@lru_cache(maxsize=8192)
def steps_to_go(layout: Layout, target: int) -> dict[Pose, int]:
    """Fewest actions from each pose until thing number `target` is in front; poses without a way are missing. A step
    forward that leaves a wrong thing in front is no way."""
    inner = range(1, layout.size - 1)
    free = [cell for cell in itertools.product(inner, inner) if cell not in layout.cells]
    before: dict[Pose, list[Pose]] = {}
    for pose in ((*cell, d) for cell in free for d in range(4)):
        for action in (LEFT, RIGHT, FORWARD):
            then = moved(layout, pose, action)
            if not _spoils(layout, then, action, target):
                before.setdefault(then, []).append(pose)
    goals = [pose for pose in ((*cell, d) for cell in free for d in range(4)) if _front(pose) == layout.cells[target]]
    steps = dict.fromkeys(goals, 0)
    todo = deque(goals)
    while todo:
        pose = todo.popleft()
        for earlier in before.get(pose, ()):
            if earlier not in steps:
                steps[earlier] = steps[pose] + 1
                todo.append(earlier)
    return steps


def sees(layout: Layout, pose: Pose, target: int) -> bool:
    """Whether thing number `target` is in the view."""
    column, row = layout.cells[target]
    return bool((view_cells(layout.size, pose) == row * layout.size + column).any())


def right_action(layout: Layout, pose: Pose, target: int) -> int | None:
    """What an agent without memory should do to reach thing number `target`: turn left until it is seen, then the
    shortest way, forward before turning where both are shortest. None where there is no way, or no need of one."""
    steps = steps_to_go(layout, target)
    if steps.get(pose, 0) == 0:
        return None
    if not sees(layout, pose, target):
        return LEFT
    for action in (FORWARD, LEFT, RIGHT):
        then = moved(layout, pose, action)
        if steps.get(then, steps[pose]) < steps[pose] and not _spoils(layout, then, action, target):
            return action
    raise AssertionError("a pose with a way has a first step")


def right_actions(layout: Layout, pose: Pose) -> list[int | None]:
    """The right action for each thing in the room as the one asked for: many instructions for one picture."""
    return [right_action(layout, pose, target) for target in range(len(layout.things))]


def walk(layout: Layout, pose: Pose, target: int, limit: int) -> Iterator[Pose]:
    """Poses of the expert without memory, the start included, until it is there or has taken `limit` actions."""
    yield pose
    for _ in range(limit):
        action = right_action(layout, pose, target)
        if action is None:
            return
        pose = moved(layout, pose, action)
        yield pose


# -- the world --------------------------------------------------------------------------------------------------------


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
        cells = tuple(tuple(map(int, self.add_object(0, 0, *thing)[1])) for thing in things)
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

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}
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
        self.observation_space = gymnasium.spaces.Dict(
            image=pixels, text=gymnasium.spaces.Text(max_length=100, charset=_TEXT)
        )
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """A new room. Rooms that an agent without memory can't win in time are drawn again, from the same seed."""
        super().reset(seed=seed)
        obs, _ = self.level.reset(seed=seed)
        while not self._winnable():
            obs, _ = self.level.reset()
        return obs, {"success": False}

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
        return obs, float(success), bool(success or wrong), out_of_time, {"success": bool(success)}

    def render(self) -> np.ndarray | None:
        """The whole room from above, or None without a render mode."""
        return self.level.get_full_render(True, 32) if self.render_mode == "rgb_array" else None


def expert(env: gymnasium.Env[Any, Any]) -> int:
    """The right action in a GoTo world, for an agent without memory."""
    level = env.unwrapped.level  # type: ignore[attr-defined]
    action = right_action(level.layout, level.pose, level.target)
    return LEFT if action is None else action


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


gymnasium.register("GoTo-v0", entry_point=GoTo)
