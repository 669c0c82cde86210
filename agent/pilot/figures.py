"""Scenes of numbers, cards and plain colours, and lists of commands that are not explained.

What the numbers' and the cards' worlds want done is never taught here, only what is to be seen in them.
"""

from collections.abc import Callable

import numpy as np

from agent.pilot.questions import Question, Rng, Room, Scene, pick, random_pose, random_room
from agent.pilot.words import COMMANDS, DIGITS, FIELDS, NAMELESS, NOTICE_WORDS
from envs import copycat
from envs.cards import RANKS, SUITS, Higher, NumberLine, draw_cards, draw_numbers
from envs.multimodal import compose
from envs.rooms import ACTIONS, FORWARD, LEFT, RIGHT, VIEW, picture, right_actions, tiles

SIDES = ("left", "right")


def _tile(row: int, side: int) -> int:
    """A tile in the middle of the left or the right panel."""
    return row * VIEW + (1, VIEW - 2)[side]


def _number_question(left: int, right: int, rng: Rng) -> Question:
    pair, side = (left, right), int(rng.integers(2))
    form = int(rng.choice(5, p=[0.15, 0.05, 0.3, 0.2, 0.3]))
    if form == 0:
        return Question("digit", f"what is the {SIDES[side]} number?", str(pair[side]), _tile(3, side))
    if form == 1:
        return Question("digit", "list all.", f"{left} {right}")
    word = pick(rng, ("larger", "smaller"))
    best = max(pair) if word == "larger" else min(pair)
    if form == 2:
        return Question("larger number", f"which number is {word}?", SIDES[pair.index(best)])
    if form == 3:
        return Question("larger number", f"how many is the {word} number?", str(best))
    return Question("larger number", f"is the {SIDES[side]} number {word}?", "yes" if pair[side] == best else "no")


def number_scene(rng: Rng, asked: int) -> Scene:
    """Two different numbers and questions about them; mostly near ones, which are harder to compare."""
    left, right = rng.choice(10, 2, replace=False).tolist()
    questions = [_number_question(left, right, rng) for _ in range(asked)]
    return Scene(draw_numbers(left, right), (*questions, *_untaught(rng, NumberLine.WANTED, NumberLine.action_texts)))


def _card_question(hand: tuple[tuple[str, str], tuple[str, str]], rng: Rng) -> Question:
    side = int(rng.integers(2))
    rank, suit = hand[side]
    where = f"the {SIDES[side]} card"
    form = int(rng.choice(5, p=[0.15, 0.25, 0.1, 0.1, 0.4]))
    if form == 0:
        return Question("card rank", f"which rank is {where}?", rank, _tile(2, side))
    if form == 1:
        return Question("card suit", f"which suit is {where}?", suit, _tile(5, side))
    if form == 2:
        return Question(
            "card colour", f"which colour is {where}?", "red" if suit in SUITS[:2] else "black", _tile(5, side)
        )
    if form == 3:
        return Question("card", "list all.", ", ".join(f"{r} of {s}" for r, s in hand))
    word = pick(rng, ("larger", "smaller"))
    order = [RANKS.index(r) for r, _ in hand]
    best = order.index(max(order) if word == "larger" else min(order))
    return Question("larger card", f"which card is {word}?", SIDES[best])


def card_scene(rng: Rng, asked: int) -> Scene:
    """Two cards of different rank and questions about them."""
    ranks = rng.choice(len(RANKS), 2, replace=False)
    suits = rng.choice(len(SUITS), 2)
    left, right = ((RANKS[r], SUITS[s]) for r, s in zip(ranks, suits, strict=True))
    questions = [_card_question((left, right), rng) for _ in range(asked)]
    wanted = Higher.WANTED.format(pick(rng, ("higher", "lower")))
    return Scene(draw_cards(left, right), (*questions, *_untaught(rng, wanted, Higher.action_texts)))


def field_scene(rng: Rng, asked: int) -> Scene:
    """A plain colour, some words to say back, and lists to choose from."""
    name = pick(rng, FIELDS)
    field = np.full((copycat.SIDE, copycat.SIDE, 3), copycat.GREY, dtype=np.uint8)
    inner = slice(copycat.MARGIN, copycat.SIDE - copycat.MARGIN)
    field[inner, inner] = copycat.COLOURS[name]
    echoes = [pick(rng, COMMANDS) for _ in range(asked)]
    said = [Question("echo", f"say {word}.", word) for word in echoes]
    return Scene(
        field, (Question("field", "which colour is this?", name), *said, *(unexplained(rng) for _ in range(3)))
    )


# -- commands that are not explained ----------------------------------------------------------------------------------


def unexplained(rng: Rng, wanted: str = "", choices: tuple[str, ...] = ()) -> Question:
    """A list of commands of which nothing is known: any of them, evenly. So a new control begins with exploration."""
    if not choices:
        pool = NAMELESS if rng.random() < 0.7 else (*FIELDS, *SUITS, *DIGITS)
        choices = tuple(pool[i] for i in rng.choice(len(pool), int(rng.integers(2, 6)), replace=False))
        if rng.random() < 0.25:
            choices = tuple(f"{pick(rng, ('turn', 'go', 'move', 'walk', 'step'))} {choice}" for choice in choices)
    return Question("unexplained", compose(wanted or _babble(rng), [], choices, 0), pick(rng, choices))


def _untaught(rng: Rng, wanted: str, choices: tuple[str, ...]) -> tuple[Question, ...]:
    """A world's own words with its own commands, with other commands, and other words: none has a right answer here."""
    return unexplained(rng, wanted, choices), unexplained(rng, wanted), unexplained(rng, choices=choices)


def _babble(rng: Rng) -> str:
    return " ".join(NOTICE_WORDS[i] for i in rng.choice(len(NOTICE_WORDS), int(rng.integers(2, 7))))


def unsure(room: Room, rng: Rng) -> list[Question]:
    """Instructions with a sentence that says that something is not as it was, or with commands that are not explained.

    What the sentence means is not taught; that it matters is: the way straight on stays likely, turns become a coin.
    """
    out = []
    for (kind, colour), action in zip(room.layout.things, right_actions(room.layout, room.pose), strict=True):
        if action is None:
            continue
        wanted = f"go to the {colour} {kind}"
        if rng.random() < 0.5:
            out.append(unexplained(rng, wanted))
            continue
        said = action if action == FORWARD else int(rng.choice((LEFT, RIGHT)))
        said = int(rng.integers(3)) if rng.random() < 0.35 else said
        text = compose(wanted, [_notice(rng)], ACTIONS, 0)
        out.append(Question("unsure", text, ACTIONS[said], room.tile((kind, colour))))
    return out


def _notice(rng: Rng) -> str:
    text = _babble(rng)
    return text[0].upper() + text[1:] if rng.random() < 0.7 else text


def unsure_scene(rng: Rng) -> Scene:
    """A room under such instructions."""
    while True:
        layout = random_room(rng)
        room = Room(layout, random_pose(rng, layout))
        questions = unsure(room, rng)
        if questions:
            return Scene(picture(tiles(layout, room.pose)), tuple(questions))


FIGURES: dict[str, tuple[Callable[[Rng, int], Scene], float]] = {
    "numbers": (number_scene, 0.4),
    "cards": (card_scene, 0.35),
    "fields": (field_scene, 0.25),
}
