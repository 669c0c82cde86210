"""The model card: written by the recipe from what it measured, never typed."""

import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.pilot.measure import Skill
from agent.pilot.words import WAYS

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# holdtrue pilot

An Idefics3 vision-language model of {parameters:,} parameters for 56x56 pictures, one image token a tile of 8x8 pixels.
It is made for the worlds bundled with holdtrue and knows nothing else. Written on {date} by `python -m agent.pilot`.

**Data.** Made by the recipe: {pictures:,} pictures of random BabyAI rooms (with the expert's action for every thing as
the one asked for), of numbers, playing cards and plain colours, with questions, captions, words to say back, and lists
of commands whose meaning is not told. No other data. The actions have several names, listed in any order:

{ways}

**Time.** {minutes:.0f} CPU minutes on {threads} thread(s): {steps} steps of {batch} pictures.

**Prompt.** `<image>go to the red ball. Say: turn left, turn right, go forward.` in the chat template.

## Held out: answered exactly, greedily

| kind | share | worst single answer | questions |
| --- | --- | --- | --- |
{answers}

New rooms, hands and questions, from a generator that training never used. There are only 90 pictures of two different
numbers and 8 of plain colours: there, the questions are new and the pictures are not. A caption or a card counts when
every word of it is right.

## Held out: GoTo-v0, {episodes} episodes, sampled at temperature 1

| | won |
| --- | --- |
| as it is | {sampled:.3f} |
| deaf (instruction blanked) | {deaf:.3f} |
| blind (picture blanked) | {blind:.3f} |

## What it was kept from knowing

What to do in the worlds of numbers and cards, exchanged controls, controls by any other name, other palettes. Told that
something has changed, or given unknown commands, it hesitates: an answer drawn evenly from what is allowed has a mean
probability of {unsure}.
"""


def write_card(folder: Path, skill: Skill, facts: dict[str, Any], minutes: float) -> str:
    """Write `README.md` and `skill.json` into the model's folder, and return the card."""
    rows = "\n".join(f"| {kind} | {s.share:.3f} | {s.worst:.3f} | {s.count} |" for kind, s in skill.answers.items())
    unsure = ", ".join(f"{value:.2f} ({kind})" for kind, value in skill.undecided.items())
    card = _CARD.format(
        **facts,
        **skill.play,
        date=datetime.datetime.now(datetime.UTC).date(),
        pictures=facts["steps"] * facts["batch"],
        minutes=minutes,
        answers=rows,
        episodes=skill.episodes,
        unsure=unsure,
        ways="\n".join(f"- {', '.join(names)}" for names in WAYS),
    )
    (folder / "README.md").write_text(card)
    (folder / "skill.json").write_text(json.dumps({**asdict(skill), "minutes": minutes, **facts}, indent=1) + "\n")
    return card
