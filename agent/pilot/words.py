"""What the pilot's tokenizer holds as whole words, and the words it meets without being taught what they do."""

from envs.cards import RANKS, SUITS
from envs.rooms import COLOURS, KINDS

DIGITS = tuple("0123456789")
FIELDS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
COMMANDS = (
    "+", "-", "up", "down", "port", "starboard", "ahead", "back", "north", "south", "east", "west", "plus", "minus",
    "more", "less", "yes", "no", "go", "turn", "left", "right", "forward", "stop", "stay", "push", "pull", "pick",
    "drop", "open", "close", "hit", "stand", "higher", "lower", "first", "second", "one", "two", "three", "alpha",
    "beta", "gamma", "delta", "walk", "step", "spin", "move", "swap", "hold", "fire", "jump", "rotate", "clockwise",
    "counterclockwise", "straight", "increase", "decrease", "add", "subtract", "advance",
)  # fmt: skip
"""Words that may stand in a list of commands. Saying one when it is listed is taught; what it does is not."""
WAYS = (
    ("turn left", "left", "rotate left", "spin left", "counterclockwise", "west"),
    ("turn right", "right", "rotate right", "spin right", "clockwise", "east"),
    ("go forward", "forward", "move forward", "straight", "advance", "north"),
)
"""Names of the three actions that are taught, in the order of `envs.rooms.ACTIONS`."""
NAMELESS = tuple(w for w in COMMANDS if w not in {part for names in WAYS for name in names for part in name.split()})
"""Commands of which nothing is known."""
NOTICE_WORDS = (
    "exchanged", "changed", "are", "now", "controls", "colours", "mirrored", "reversed", "swapped", "new", "different",
    "today", "careful", "and", "words", "names", "every", "have", "places", "left", "right", "red", "blue", "green",
    "turn", "forward", "rules", "world", "other", "way", "round", "not", "mean", "means",
)  # fmt: skip
"""Words of sentences that say that something has changed: met with an unsure answer, so that they are not ignored."""
OTHERS = (
    "the", "to", "is", "a", "of", "in", "there", "where", "what", "which", "how", "many", "list", "all", "thing",
    "things", "number", "card", "cards", "numbers", "suit", "colour", "rank", "larger", "smaller", "wins", "bring",
    "equal", "make", "nothing", "wall", "front", "you", "this", "see", "none", "Say", "say", "word", "The", "Which",
    "head", "towards", "reach", "find", "approach", "please", "object", "crimson", "Left", "Right", "Colours",
    "Controls", "Careful", "behind",
)  # fmt: skip
ALL = tuple(dict.fromkeys((*COLOURS, *KINDS, *RANKS, *SUITS, *DIGITS, *FIELDS, *COMMANDS, *NOTICE_WORDS, *OTHERS)))
