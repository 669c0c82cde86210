"""Where two answers to one observation come from: pure functions from sound episodes to couples of answers.

Nobody has judged a couple yet; only the returns are known, because they cost nothing.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.advantages import returns_to_go, step_groups
from agent.judging import Answered
from agent.told import is_thought, same_answer, told_text, was_stepped
from envs.actions import reader
from envs.component import UserError
from envs.types import Action, Choices, Episode, Mode, Step
from memory.preferences import by_group, parting, same_command, undiscounted_return

Encode = Callable[[str, Choices], np.ndarray]
"""Token ids of an answer with its end token, int64 `[T]`, as the policy itself would write it."""


@dataclass(frozen=True, slots=True)
class Couple:
    """Two answers to the very same observation.

    Attributes:
        gain: how much more return `a` had than `b`; 0 if equal or unknown.
        unfit: why the source itself won't compare them, or empty.
    """

    a: Answered
    b: Answered
    gain: float
    unfit: str = ""


def parting_couples(episodes: Sequence[Episode]) -> list[Couple]:
    """Every two episodes of a group, at the first step at which they part. `gain` is in undiscounted return."""
    couples = []
    for members in by_group(episodes):
        gained = [undiscounted_return(episode) for episode in members]
        for (a, gain), (b, other) in itertools.combinations(zip(members, gained, strict=True), 2):
            place = parting(a.steps, b.steps)
            if place is not None:
                one, two = Answered(a.steps[place], a, place), Answered(b.steps[place], b, place)
                couples.append(Couple(one, two, gain - other))
    return couples


def step_couples(episodes: Sequence[Episode], discount: float) -> list[Couple]:
    """Every two different commands given where a group's episodes saw the very same.

    A command stands for all steps that gave it: its return to go is their mean, and the step nearest to the mean (the
    first of equals) is the one shown. `gain` is the difference of means.
    """
    answers = [Answered(step, e, place) for e in episodes for place, step in enumerate(e.steps)]
    to_go = returns_to_go(episodes, discount).tolist()
    met: dict[Hashable, list[tuple[Answered, float]]] = {}
    for answer, group, value in zip(answers, step_groups(episodes), to_go, strict=True):
        met.setdefault((answer.episode.task, group, answer.step.choices), []).append((answer, value))
    couples = []
    for members in met.values():
        shown = [_nearest_to_mean(same) for same in _by_command(members)]
        couples += [Couple(a, b, mean - other) for (a, mean), (b, other) in itertools.combinations(shown, 2)]
    return couples


def _by_command(members: Iterable[tuple[Answered, float]]) -> list[list[tuple[Answered, float]]]:
    """Those of one command and mode together, in order. Commands may be arrays: they are compared, not hashed."""
    commands: list[list[tuple[Answered, float]]] = []
    for answer, value in members:
        action = answer.step.action
        for same in commands:
            known = same[0][0].step.action
            if known.mode == action.mode and same_command(known, action):
                same.append((answer, value))
                break
        else:
            commands.append([(answer, value)])
    return commands


def _nearest_to_mean(same: Sequence[tuple[Answered, float]]) -> tuple[Answered, float]:
    mean = float(np.mean([value for _, value in same]))
    answer, _ = min(same, key=lambda item: abs(item[1] - mean))
    return answer, mean


def expert_couples(episodes: Sequence[Episode], encode: Encode) -> list[Couple]:
    """What the expert would have said (`a`) against what the agent said, at every step that reached the world.

    `gain` is 0: nobody knows what the expert's answer would have earned.

    Raises:
        UserError: the world does not tell its expert's answer, or one that may not be said.
    """
    couples = []
    for episode in episodes:
        for place, step in enumerate(episode.steps):
            if not was_stepped(step):
                continue
            text = told_text(step, "expert", "pairs.sources has expert", "leave expert out of pairs.sources")
            couples.append(_expert_couple(Answered(step, episode, place), text, encode))
    return couples


def _expert_couple(said: Answered, expert: str, encode: Encode) -> Couple:
    if same_answer(said.step, expert):
        return Couple(said, said, 0.0, "same")
    if is_thought(said.step):
        return Couple(said, said, 0.0, "thought")
    step = replace(said.step, action=_expert_action(said.step, expert, encode))
    return Couple(Answered(step, said.episode, said.place), said, 0.0)


def _expert_action(step: Step, expert: str, encode: Encode) -> Action:
    """The expert's answer as an action. Nobody sampled it, so its log-probs are no numbers."""
    text: str = expert
    command: str | int = expert
    mode: Mode = "open" if step.choices is None else "closed"
    if step.choices is not None:
        place = reader(step.choices).read(expert)
        if place is None:
            allowed = ", ".join(step.choices)
            raise UserError(
                f"pairs.sources has expert, but the world's info['expert'] is {expert!r}, which may not be said there "
                f"(allowed: {allowed}). Let the world name an allowed text, or leave expert out of pairs.sources."
            )
        text, command = step.choices[place], place
    tokens = encode(text, step.choices)
    return Action(text, tokens, np.full(len(tokens), np.nan, np.float32), mode, command, True)
