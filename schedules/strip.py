"""One episode to look at: as a PNG strip, and in the terminal. Under each picture: the answer, how sure, the reward."""

from collections.abc import Sequence
from math import exp
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich import box
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from envs.preface import own
from envs.types import IMAGE_MARK, Episode, Observation, Step, StopReason

SIDE = 168  # pixels of a picture in the strip
GAP, CAPTION, HEADER = 12, 62, 56
PER_ROW = 8
PAPER, INK, FAINT, GOOD, BAD = "#ffffff", "#22313f", "#8795a1", "#1b7f5c", "#b3541e"


def probability(step: Step) -> float:
    """Of the whole answer, under the distribution that sampled it."""
    return exp(float(np.sum(step.action.logprobs)))


def instruction(observation: Observation) -> str:
    """The words of a prompt on one line, without image marks."""
    return " ".join(observation.text.replace(IMAGE_MARK, " ").split())


def ending(episode: Episode) -> str:
    """How it ended, in words."""
    how = {StopReason.TRUNCATED: " (out of time)", StopReason.ENV_ERROR: " (the world broke)"}.get(episode.stop, "")
    return ("success" if episode.success else "failed") + how


# ------------------------------------------------------------------------------------------------------ as a picture


def write_strip(path: Path, episode: Episode) -> None:
    """Write the episode as a PNG: a panel a step, then the last sight with success or failure."""
    panels = [_panel(step.observation, *_caption(step)) for step in episode.steps]
    panels.append(_panel(episode.final, ending(episode), "", "", GOOD if episode.success else BAD))
    rows = [panels[i : i + PER_ROW] for i in range(0, len(panels), PER_ROW)]
    width = GAP + min(len(panels), PER_ROW) * (SIDE + GAP)
    sheet = Image.new("RGB", (max(width, 560), HEADER + len(rows) * (SIDE + CAPTION + GAP)), PAPER)
    first = own(episode.steps[0]) if episode.steps else episode.final
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 10), f"{episode.task}, seed {episode.seed}: {ending(episode)}", INK, _font(16))
    pen.text((GAP, 32), _fitting(instruction(first), _font(13), sheet.width - 2 * GAP), FAINT, _font(13))
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            sheet.paste(panel, (GAP + j * (SIDE + GAP), HEADER + i * (SIDE + CAPTION + GAP)))
    sheet.save(path, format="PNG")


def _panel(observation: Observation, answer: str, sure: str, reward: str, colour: str) -> Image.Image:
    panel = Image.new("RGB", (SIDE, SIDE + CAPTION), PAPER)
    panel.paste(_sight(observation), (0, 0))
    pen = ImageDraw.Draw(panel)
    pen.text((0, SIDE + 6), _fitting(answer, _font(15), SIDE), colour, _font(15))
    pen.text((0, SIDE + 26), sure, FAINT, _font(13))
    pen.text((0, SIDE + 43), reward, FAINT, _font(13))
    return panel


def _sight(observation: Observation) -> Image.Image:
    """The newest picture, enlarged by whole pixels; where there is none, the words."""
    if not observation.images:
        card = Image.new("RGB", (SIDE, SIDE), "#f4f6f7")
        ImageDraw.Draw(card).multiline_text((8, 8), _wrapped(instruction(observation), 22), INK, _font(13))
        return card
    picture = Image.fromarray(observation.images[-1])
    scale = SIDE / max(picture.size)
    enlarged = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.NEAREST)
    card = Image.new("RGB", (SIDE, SIDE), "#f4f6f7")
    card.paste(enlarged, ((SIDE - enlarged.width) // 2, (SIDE - enlarged.height) // 2))
    return card


def _caption(step: Step) -> tuple[str, str, str, str]:
    """Answer, sureness, reward, colour."""
    said = step.action.text if step.action.readable else f"“{step.action.text}” ?"
    sure = f"p {probability(step):.2f}  ({float(np.sum(step.action.logprobs)):+.2f} nats)"
    cost = f"  cost {step.cost:g}" if step.cost else ""
    return (
        said,
        sure,
        f"reward {step.reward:+.2f}{cost}" if step.reward or cost else "",
        INK if step.action.readable else BAD,
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`text`, shortened until it fits."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, columns: int) -> str:
    lines = [""]
    for word in text.split():
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < columns else [*lines, word]
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------- in the terminal


def episode_text(episode: Episode, pictures: bool = True) -> RenderableType:
    """The episode as lines; with `pictures`, what was seen is drawn in half blocks (24-bit colour)."""
    first = own(episode.steps[0]) if episode.steps else episode.final
    head = Text.assemble((f"{episode.task}, seed {episode.seed}: ", "bold"), instruction(first))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", justify="right", style="dim")
    if pictures:
        table.add_column("sees")
    for heading in ("says", "p", "nats", "reward"):
        table.add_column(heading, justify="left" if heading == "says" else "right")
    for number, step in enumerate(episode.steps, 1):
        said = Text(step.action.text, style="" if step.action.readable else "red")
        said.append("" if step.action.readable else "  (not readable)", "red")
        sight: Sequence[RenderableType] = [half_blocks(step.observation)] if pictures else []
        nats = float(np.sum(step.action.logprobs))
        reward = f"{step.reward:+.2f}" if step.reward else ""
        table.add_row(str(number), *sight, said, f"{probability(step):.2f}", f"{nats:+.2f}", reward)
    end = Text(ending(episode), style="bold green" if episode.success else "bold red")
    return Group(head, table, *([half_blocks(episode.final)] if pictures else []), end)


def half_blocks(observation: Observation, columns: int = 28) -> Text:
    """The newest picture as text, two pixels a character, `columns` wide; empty where there is none."""
    if not observation.images:
        return Text()
    picture = Image.fromarray(observation.images[-1])
    height = 2 * max(1, round(columns * picture.height / picture.width / 2))
    pixels = np.asarray(picture.resize((columns, height), Image.Resampling.BOX))
    drawn = Text(no_wrap=True)
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            drawn.append("▀", Style(color=_hex(above), bgcolor=_hex(below)))
        drawn.append("\n")
    return drawn


def _hex(pixel: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel)
