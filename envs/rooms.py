"""Rooms with things in them: their pictures as MiniGrid draws them, and the right action for every wish.

Tiles are looked up instead of drawn: the same pixels, far quicker. Everything here is a pure function of a layout and a
pose, so that one picture can serve many instructions.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from minigrid.core.constants import DIR_TO_VEC
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Key, Wall

KINDS = ("ball", "key", "box")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
THINGS = tuple(itertools.product(KINDS, COLOURS))
ACTIONS = ("turn left", "turn right", "go forward")
LEFT, RIGHT, FORWARD = range(3)
VIEW = 7  # tiles a side
TILE = 8  # pixels a side
LONE_SIZE = 6  # of a room with one thing in it, walls included
UNSEEN, EMPTY, WALL, AGENT, FIRST_THING = range(5)  # rows of the atlas; things follow, kind by kind

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
    drawn = [Grid.render_tile(classes[k](c), None, True, TILE) for k, c in THINGS]
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


def lone(thing: tuple[str, str], rng: np.random.Generator) -> tuple[Layout, Pose]:
    """A room with this one thing in it, anywhere, and a pose that sees it."""
    inner = list(itertools.product(range(1, LONE_SIZE - 1), repeat=2))
    while True:
        cell, stand = (inner[i] for i in rng.choice(len(inner), 2, replace=False))
        layout, pose = Layout(LONE_SIZE, (cell,), (thing,)), (*stand, int(rng.integers(4)))
        if sees(layout, pose, 0):
            return layout, pose


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
