"""Does a world keep its promises? Gymnasium's checker and ours, before anything is learned in it.

Every error names what was seen and the remedy.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from envs.actions import reader
from envs.collect import same_observation
from envs.component import UserError
from envs.flight import IN_ACTION
from envs.multimodal import DEFAULT_MAX_STEPS, World, WorldSettings, make_world
from envs.types import IMAGE_MARK, Choices, Observation

NONSENSE = "\x00 ~~ neither here nor there ~~"


@dataclass(frozen=True, slots=True)
class WorldReport:
    """What was seen of a sound world.

    Attributes:
        prompt: the first observation's text.
        pictures: `[H, W, 3]` of each.
        steps: decisions of each episode played at random.
        success: share of those episodes that succeeded: what chance gets.
    """

    id: str
    prompt: str
    choices: Choices
    pictures: tuple[tuple[int, ...], ...]
    steps: tuple[int, ...]
    success: float


@dataclass(frozen=True, slots=True)
class _Moment:
    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


def check_world(settings: WorldSettings, episodes: int = 3) -> WorldReport:
    """Check one world by its settings, drift included.

    Args:
        episodes: how many are played at random, each twice, in different instances and orders.

    Raises:
        UserError: the world can't be made, or breaks the contract of `envs.native`.
    """
    world, twin = make_world(settings), make_world(settings)
    _check_pictures_declared(world)
    _check_gymnasium(world)
    played = [list(_play(world, seed)) for seed in range(episodes)]
    for seed in reversed(range(episodes)):
        _check_repeats(settings.id, seed, played[seed], list(_play(twin, seed)))
    _check_not_blank(settings.id, [moment.observation for episode in played for moment in episode])
    won = [_succeeded(world, episode) for episode in played]
    _check_nonsense(world)
    first = played[0][0].observation
    report = WorldReport(
        id=settings.id,
        prompt=first.text,
        choices=world.choices(),
        pictures=tuple(image.shape for image in first.images),
        steps=tuple(len(episode) - 1 for episode in played),
        success=float(np.mean(won)),
    )
    world.close()
    twin.close()
    return report


def _check_pictures_declared(world: World) -> None:
    space = world.observation_space
    assert isinstance(space, spaces.Dict)
    for key, part in space.spaces.items():
        if key == "text":
            continue
        if not (
            isinstance(part, spaces.Box) and part.dtype == np.uint8 and len(part.shape) == 3 and part.shape[2] == 3
        ):
            raise UserError(
                f"world {world.settings.id!r}: picture {key} is declared as {part}. Declare it as "
                "Box(0, 255, (height, width, 3), numpy.uint8)."
            )


def _check_gymnasium(world: World) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_env(world, skip_render_check=True)
    except Exception as error:
        raise UserError(
            f"world {world.settings.id!r} fails Gymnasium's checker: {type(error).__name__}: {error} "
            "Mend the env, then check again with gymnasium.utils.env_checker.check_env."
        ) from error


def _check_choices(name: str, choices: Choices) -> None:
    if choices is None:
        return
    if len(choices) < 2:
        raise UserError(f"world {name!r} offers {choices}: there is nothing to decide. Offer 2 or more actions.")
    for i, text in enumerate(choices):
        where = f"world {name!r}: the action text {text!r}"
        if text != text.strip() or not text:
            raise UserError(f"{where} is empty or has space around it. Remove the space.")
        if IMAGE_MARK in text or ", " in text:
            raise UserError(f"{where} holds an image mark or ', ', which separates the offered texts. Reword it.")
        for spelling in (text, text.upper(), f" {text}.\n"):
            if reader(choices).read(spelling) != i:
                raise UserError(f"{where} can't be read back from {spelling!r}: another one is too like it. Reword it.")


def _play(world: World, seed: int) -> Iterator[_Moment]:
    """An episode played at random; the choices depend on the seed alone, not by the world's own draws."""
    rng = np.random.default_rng([seed, 1])
    name = world.settings.id
    anything = world.action_space if world.settings.thought else world.env.action_space  # where no set is closed
    anything.seed(seed)
    step, said, over = 0, "", False
    try:
        seen, info = world.reset(seed=seed)
        yield _looked(world, seen, 0.0, False, False, info)
        while not over:
            choices = world.choices()
            _check_choices(name, choices)
            said = choices[int(rng.integers(len(choices)))] if choices else str(anything.sample())
            step += 1
            seen, reward, terminated, truncated, info = world.step(said)
            _check_told(name, info)
            yield _looked(world, seen, reward, terminated, truncated, info)
            over = terminated or truncated
    except UserError:
        raise
    except Exception as error:
        place = f"step {step}, {said!r}" if step else "reset"
        raise UserError(
            f"world {name!r} raised {type(error).__name__}: {error} (seed {seed}, {place}). Mend the env: whatever "
            "is said to it, it must answer with finite rewards."
        ) from error
    if step >= DEFAULT_MAX_STEPS and world.settings.max_steps is None and not terminated:
        raise UserError(
            f"world {name!r} did not end within {DEFAULT_MAX_STEPS} steps (seed {seed}). "
            "Set max_steps, or register it with max_episode_steps."
        )


def _check_told(name: str, info: Mapping[str, Any]) -> None:
    """What rewards and annotators read, see `envs.native`. A potential that isn't finite raises in the world itself."""
    for key in ("present", "absent"):
        names = info.get(key, [])
        if not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
            raise UserError(f"world {name!r}: info[{key!r}] is {names!r}. Make it a list of names.")
    both = sorted({*info.get("present", ())} & {*info.get("absent", ())})
    if both:
        raise UserError(f"world {name!r} calls {both[0]!r} present and absent at once. Name each thing in one of them.")
    liking = info.get("liking", {})
    scores = liking.values() if isinstance(liking, dict) else [math.nan]
    if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
        raise UserError(f"world {name!r}: info['liking'] is {liking!r}. Make it a mapping: preference -> number.")


def _looked(world: World, seen: Any, reward: float, terminated: bool, truncated: bool, info: dict[str, Any]) -> _Moment:
    name = world.settings.id
    if not world.observation_space.contains(seen):
        found = {key: getattr(value, "shape", value) for key, value in seen.items()}
        raise UserError(
            f"world {name!r} shows {found}, outside what it declares: {world.observation_space}. Make the two agree."
        )
    observation = world.observe(seen)
    marks = observation.text.count(IMAGE_MARK)
    if marks != len(observation.images):
        raise UserError(f"world {name!r} has {marks} image marks for {len(observation.images)} pictures. Report this.")
    return _Moment(observation, reward, terminated, truncated, info)


def _check_repeats(name: str, seed: int, once: list[_Moment], again: list[_Moment]) -> None:
    for step, (a, b) in enumerate(zip(once, again, strict=False)):
        same = (a.reward, a.terminated, a.truncated) == (b.reward, b.terminated, b.truncated)
        if not (same and same_observation(a.observation, b.observation)):
            place = f"after step {step}" if step else "at reset"
            raise UserError(
                f"world {name!r}: two episodes of seed {seed} with the same answers differ {place}. Draw everything "
                "from self.np_random, after super().reset(seed=seed), and keep nothing from the episode before."
            )


def _check_not_blank(name: str, seen: list[Observation]) -> None:
    for place in range(len(seen[0].images)):
        if all(np.ptp(observation.images[place], axis=(0, 1)).max() == 0 for observation in seen):
            raise UserError(
                f"world {name!r}: picture {place} is one flat colour in every observation: there is nothing to see. "
                "Check the env's drawing, or leave the picture out."
            )


def _succeeded(world: World, episode: list[_Moment]) -> bool:
    rule = world.settings.success
    try:
        return rule.holds([moment.reward for moment in episode], episode[-1].info)
    except KeyError as error:
        there = ", ".join(key for key in episode[-1].info if key not in IN_ACTION) or "no keys"
        raise UserError(
            f"success.info is {rule.info!r}: the last info of an episode of {world.settings.id!r} has no such key. "
            f"There are: {there}. Name one of these, or use return_at_least."
        ) from error


def _check_nonsense(world: World) -> None:
    """An unreadable reply is data."""
    world.reset(seed=0)
    try:
        info = world.step(NONSENSE)[4]
    except Exception as error:
        raise UserError(
            f"world {world.settings.id!r} raised {type(error).__name__}: {error} on an unreadable reply. "
            "Its no-op must be an action it takes; for an open set, any text in its Text space."
        ) from error
    if world.choices() is not None and info["readable"]:
        raise UserError(f"world {world.settings.id!r} reads {NONSENSE!r} as one of its actions. Reword that action.")
