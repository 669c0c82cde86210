"""Pictures that the recipe draws itself, with questions, captions and instructions about them.

Answers of a kind are in balance, and things that are asked for but absent share a colour or a kind with one that is
there: otherwise the majority answer is a comfortable place to stay.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agent.pilot.words import NAMELESS, WAYS
from envs.multimodal import compose
from envs.rooms import (
    ACTIONS,
    THINGS,
    VIEW,
    Layout,
    Pose,
    picture,
    right_actions,
    sees,
    tiles,
    view_cells,
)

Rng = np.random.Generator
NOWHERE = -1
UNDECIDED = ("unsure", "unexplained")
"""Kinds of questions that have no right answer: what is recorded as theirs is drawn at random."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question or instruction.

    Attributes:
        kind: what its score is listed under.
        text: what stands behind the picture.
        answer: what is to be said.
        about: the tile (0..48) of the thing or place that its first sentence ends with, `NOWHERE` if it is not to be
            seen, or None where the sentence names none.
    """

    kind: str
    text: str
    answer: str
    about: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture, uint8 `[56, 56, 3]`, and what is asked about it."""

    image: np.ndarray
    questions: tuple[Question, ...]


def pick(rng: Rng, items: list | tuple):
    """One of `items`."""
    return items[int(rng.integers(len(items)))]


# -- rooms ------------------------------------------------------------------------------------------------------------


def random_room(rng: Rng) -> Layout:
    """A room as GoTo draws it, with things and places at random."""
    size = 6 if rng.random() < 0.9 else 5
    things: list[tuple[str, str]] = []
    count = int(rng.choice([1, 2, 3, 4], p=[0.05, 0.15, 0.6, 0.2]))
    while len(things) < count:
        left = [t for t in THINGS if t not in things]
        near = [t for t in left if any(t[0] == k or t[1] == c for k, c in things)]
        things.append(pick(rng, near or left))
    inner = list(itertools.product(range(1, size - 1), range(1, size - 1)))
    cells = tuple(inner[i] for i in rng.choice(len(inner), count, replace=False))
    return Layout(size, cells, tuple(things))


def random_pose(rng: Rng, layout: Layout) -> Pose:
    """Any free cell, any direction; more often one that sees something."""
    inner = range(1, layout.size - 1)
    free = [cell for cell in itertools.product(inner, inner) if cell not in layout.cells]
    for _ in range(3):
        pose = (*pick(rng, free), int(rng.integers(4)))
        if any(sees(layout, pose, i) for i in range(len(layout.cells))):
            break
    return pose


class Room:
    """A pose in a room, and what can be asked there."""

    def __init__(self, layout: Layout, pose: Pose) -> None:
        self.layout, self.pose = layout, pose
        self.seen: dict[tuple[str, str], tuple[int, int]] = {}  # thing -> (tiles ahead, tiles to the right)
        view = view_cells(layout.size, pose).tolist()
        for (column, row), thing in zip(layout.cells, layout.things, strict=True):
            cell = row * layout.size + column
            if cell in view:
                down, across = divmod(view.index(cell), VIEW)
                self.seen[thing] = (VIEW - 1 - down, across - VIEW // 2)

    def tile(self, thing: tuple[str, str]) -> int:
        """Where it is in the view."""
        if thing not in self.seen:
            return NOWHERE
        ahead, aside = self.seen[thing]
        return (VIEW - 1 - ahead) * VIEW + VIEW // 2 + aside

    def absent(self, rng: Rng) -> tuple[str, str]:
        """A thing that is not seen but shares its kind or colour with one that is, where there is one."""
        left = [t for t in THINGS if t not in self.seen]
        near = [t for t in left if any(t[0] == k or t[1] == c for k, c in self.seen)]
        return pick(rng, near or left)

    def thing(self, rng: Rng, share: float) -> tuple[str, str]:
        """A seen thing, or with probability `share` one that is not."""
        return pick(rng, tuple(self.seen)) if self.seen and rng.random() >= share else self.absent(rng)


def place(ahead: int, aside: int) -> str:
    """A place in words, as `2 ahead 1 left`."""
    parts = [f"{ahead} ahead"] if ahead else []
    if aside:
        parts.append(f"{abs(aside)} {'left' if aside < 0 else 'right'}")
    return " ".join(parts)


def _where(room: Room, rng: Rng) -> Question:
    kind, colour = thing = room.thing(rng, 0.25)
    if thing not in room.seen:
        answer = "none"
    else:
        aside = room.seen[thing][1]
        answer = "left" if aside < 0 else "right" if aside > 0 else "ahead"
    return Question("where", f"where is the {colour} {kind}?", answer, room.tile(thing))


def _exactly(room: Room, rng: Rng) -> Question:
    kind, colour = thing = room.thing(rng, 0.1)
    answer = place(*room.seen[thing]) if thing in room.seen else "none"
    return Question("place", f"{colour} {kind}?", answer, room.tile(thing))


def _is_there(room: Room, rng: Rng) -> Question:
    kind, colour = thing = room.thing(rng, 0.5)
    answer = "yes" if thing in room.seen else "no"
    return Question("presence", f"is there a {colour} {kind}?", answer, room.tile(thing))


def _colour_of(room: Room, rng: Rng) -> Question:
    kinds = [k for k, _ in room.seen]
    single = [(k, c) for k, c in room.seen if kinds.count(k) == 1]
    if not single:
        return _at(room, rng)
    kind, colour = pick(rng, single)
    return Question("colour", f"which colour is the {kind}?", colour, room.tile((kind, colour)))


def _kind_of(room: Room, rng: Rng) -> Question:
    colours = [c for _, c in room.seen]
    single = [(k, c) for k, c in room.seen if colours.count(c) == 1]
    if not single:
        return _at(room, rng)
    kind, colour = pick(rng, single)
    return Question("kind", f"what is the {colour} thing?", kind, room.tile((kind, colour)))


def _at(room: Room, rng: Rng) -> Question:
    if room.seen and rng.random() < 0.8:
        (kind, colour), (ahead, aside) = pick(rng, tuple(room.seen.items()))
        return Question("thing at", f"what is {place(ahead, aside)}?", f"{colour} {kind}", room.tile((kind, colour)))
    ahead, aside = int(rng.integers(0, 5)), int(rng.integers(-3, 4))
    cell = (VIEW - 1 - ahead) * VIEW + VIEW // 2 + aside
    seen = {where: f"{c} {k}" for (k, c), where in room.seen.items()}
    plain = ("nothing", "nothing", "wall", "you")
    code = int(tiles(room.layout, room.pose)[cell])
    answer = seen.get((ahead, aside)) or plain[code]
    return Question("thing at", f"what is {place(ahead, aside) or 'this'}?", answer, cell)


def _caption(room: Room, rng: Rng) -> Question:
    things = sorted(room.seen.items(), key=lambda item: (-item[1][0], item[1][1]))
    answer = ", ".join(f"{c} {k} {place(*where)}" for (k, c), where in things) or "nothing"
    return Question("caption", "list all.", answer)


ROOM_QUESTIONS: dict[str, tuple[Callable[[Room, Rng], Question], float]] = {
    "where": (_where, 3), "place": (_exactly, 3), "presence": (_is_there, 2), "colour": (_colour_of, 1),
    "kind": (_kind_of, 1), "thing at": (_at, 2), "caption": (_caption, 0.5),
}  # fmt: skip
_MAKERS = [maker for maker, _ in ROOM_QUESTIONS.values()]
_WEIGHTS = np.array([weight for _, weight in ROOM_QUESTIONS.values()])


def controls(rng: Rng) -> tuple[tuple[str, ...], list[int]]:
    """What the three actions are called, and in which order they are listed: as in the world, or by other names that
    are taught, of which one may be new; then only its place among known ones tells what it does.

    Whoever reads what to do off the names, and not off the places in the list, needs to learn no more than the names
    when they change.
    """
    if rng.random() < 0.45:
        return ACTIONS, [0, 1, 2]
    named = [pick(rng, names) for names in WAYS]
    if rng.random() < 0.3:
        named[int(rng.integers(3))] = pick(rng, NAMELESS)
    return tuple(named), rng.permutation(3).tolist()


def instructions(room: Room, rng: Rng) -> list[Question]:
    """What to do for each thing in the room as the one asked for."""
    out = []
    for thing, action in zip(room.layout.things, right_actions(room.layout, room.pose), strict=True):
        if action is not None:
            names, order = controls(rng)
            text = compose(f"go to the {thing[1]} {thing[0]}", [], [names[i] for i in order], 0)
            kind = "go to" if names == ACTIONS else "go to, other names"
            out.append(Question(kind, text, names[action], room.tile(thing)))
    return out


def room_scene(rng: Rng, asked: int, acts: int) -> Scene:
    """A room with `asked` questions and at most `acts` instructions."""
    layout = random_room(rng)
    room = Room(layout, random_pose(rng, layout))
    picked = rng.choice(len(_MAKERS), asked, p=_WEIGHTS / _WEIGHTS.sum())
    questions = [_MAKERS[i](room, rng) for i in picked]
    told = instructions(room, rng) if acts else []
    told = [told[i] for i in rng.permutation(len(told))]
    return Scene(picture(tiles(layout, room.pose)), tuple(questions + told[:acts]))
