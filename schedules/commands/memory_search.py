"""`holdtrue memory search`: the steps most like a picture, a text, or both."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from envs.component import UserError
from envs.types import IMAGE_MARK, Observation
from memory.store import ReplayMemory
from schedules.commands.opening import stored_embedder
from schedules.commands.remembering import opened, say
from schedules.commands.tables import table

PICTURES = (".png", ".jpg", ".jpeg")


def main(args: Namespace) -> None:
    """Print the steps, most alike first."""
    if args.k < 1:
        raise UserError(f"-k {args.k}: ask for 1 or more steps.")
    wanted = observation(args.what)
    console = Console()
    with opened(args) as run:
        embedder = stored_embedder(run.ledger, run.folder)
        memory = ReplayMemory(run.parts.database, embedder)
        found = memory.search(wanted, args.k)
        episodes = {episode.id: episode for episode in memory.get(list(dict.fromkeys(name for name, _, _ in found)))}
    if not found:
        say(console, "Nothing is remembered yet.")
        return
    rows = []
    for name, place, cosine in found:
        episode = episodes[name]
        outcome = "success" if episode.success else "failure"
        rows.append(
            (name, str(place), f"{cosine:.3f}", episode.task, outcome, episode.steps[place].action.text),
        )
    console.print(table(("id", "step", "cosine", "task", "outcome", "said"), rows, right=("step", "cosine")))
    say(console, "Look at one: holdtrue memory show ID", "dim")


def observation(words: Sequence[str]) -> Observation:
    """Files that end as pictures do, and the rest as text; where it has no `<image>` marks, they come first.

    Raises:
        UserError: a file can't be read as a picture, or the marks in the text are not as many as the pictures.
    """
    files = [word for word in words if word.lower().endswith(PICTURES)]
    text = " ".join(word for word in words if word not in files)
    marks = text.count(IMAGE_MARK)
    if marks not in (0, len(files)):
        raise UserError(
            f"the text has {marks} '{IMAGE_MARK}' marks for {len(files)} pictures. Write one mark a picture, or none."
        )
    return Observation(text if marks else IMAGE_MARK * len(files) + text, tuple(picture(Path(file)) for file in files))


def picture(path: Path) -> np.ndarray:
    """Uint8 `[H, W, 3]`.

    Raises:
        UserError: it is no picture.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8).copy()
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} can't be read as a picture ({error}). Give a PNG or JPEG file.") from error
