"""Text -> action. An unreadable reply is data, never an exception.

A reply is read against the closed set of texts in three rounds, and a round counts only where it is unambiguous:
as it stands; without regard to case and outer space; without sentence punctuation and markup. Nothing is guessed:
"I would turn left" is not "turn left".
"""

import re
from functools import lru_cache

from envs.types import IMAGE_MARK

_SPACE = re.compile(r"\s+")
_JOINT = re.compile(r"(?<=\w)[-_](?=\w)")  # turn-left, turn_left; a lone "-" is an answer in card worlds
_MARKUP = re.compile(r"""[.,;:!?"'`*()\[\]{}<>]""")


def neutralise(text: str) -> str:
    """`text` of a world or a person, unable to forge an image mark."""
    return text.replace(IMAGE_MARK, IMAGE_MARK.replace("<", "(").replace(">", ")"))


def behind_thought(text: str, end: str) -> str:
    """What a reply says behind its last `end`, the mark that ends a thought; all of it where there is no such mark.

    A thought is free to name actions, and to use the mark: only the end of the reply counts.

    Example:
        >>> behind_thought("<think>The ball is left, so not turn right.</think> turn left", "</think>")
        ' turn left'
    """
    return text.rpartition(end)[2]


def tidy(text: str) -> str:
    """Lower case, single spaces."""
    return _SPACE.sub(" ", text).strip().casefold()


def fold(text: str) -> str:
    """`tidy`, and without punctuation and markup; may be empty."""
    return tidy(_MARKUP.sub(" ", _JOINT.sub(" ", text)))


class Reader:
    """Reads replies against one closed set."""

    __slots__ = ("_exact", "_folded", "_tidy", "choices")

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices
        self._exact = {text: i for i, text in enumerate(choices)}
        self._tidy = _unambiguous([tidy(text) for text in choices])
        self._folded = _unambiguous([fold(text) for text in choices])

    def read(self, text: str) -> int | None:
        """Which choice `text` names, or None."""
        found = self._exact.get(text)
        if found is None:
            found = self._tidy.get(tidy(text))
        if found is None:
            found = self._folded.get(fold(text))
        return found


@lru_cache(maxsize=1024)
def reader(choices: tuple[str, ...]) -> Reader:
    """The reader of a closed set: made once, since a world offers the same few sets at every step."""
    return Reader(choices)


def _unambiguous(forms: list[str]) -> dict[str, int]:
    return {form: i for i, form in enumerate(forms) if form and forms.count(form) == 1}
