"""What earlier cycles have to say in this one: their pairs, what they tried, and observations like these."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from agent.lesson import Trial
from envs.component import load
from envs.types import Episode, Observation, Step
from memory.preferences import PreferencePair
from memory.recall import Recall
from memory.schema import LIVED
from schedules.loop import Loop

FAILURES = 64
"""Failed episodes of live regimes that recall is told of: of training, never of an exam."""
NEIGHBOURS = 64


def recall(loop: Loop, cycle: int, task: str) -> list[Episode]:
    """Episodes of earlier cycles to rehearse: of live regimes other than the one being trained."""
    plan = loop.stream.memory
    others = [name for name in loop.live(cycle) if name != task]
    if not plan.on or not others:
        return []
    failures = loop.memory.failures(FAILURES, loop.rng(cycle, "failures"), cycle, loop.live(cycle))
    strategy: Recall = load("memory.recall", plan.recall, "recall").build()
    return loop.memory.draw(strategy, plan.rehearsal_steps, loop.rng(cycle, "recall"), cycle, others, like=failures)


class RememberedPairs:
    """Implements `agent.lesson.PairMemory` for one cycle."""

    def __init__(self, loop: Loop, cycle: int) -> None:
        self.loop = loop
        self.cycle = cycle
        self.rng = loop.rng(cycle, "pairs")

    def keep(self, pairs: Sequence[PreferencePair]) -> None:
        """See `agent.lesson.PairMemory`."""
        with self.loop.phase("memory"):
            self.loop.memory.add_pairs(pairs)

    def draw(self, count: int) -> list[PreferencePair]:
        """See `agent.lesson.PairMemory`."""
        with self.loop.phase("memory"):
            there = self.loop.memory.draw_pairs(count, self.rng, self.cycle, self.loop.live(self.cycle))
            told = ((name, f"replayed: a pair of cycle {pair.cycle}") for pair in there for name in pair.episodes)
            self.loop.memory.draws.note(self.cycle, "pairs", told)
        return there


def trials(loop: Loop, task: str) -> list[Trial]:
    """What earlier cycles of this task tried, oldest first."""
    found = []
    for entry in loop.committed[1:]:
        gain = gained(entry.report)
        if entry.report["task"] == task and gain is not None:
            update = entry.report["update"]
            found.append(Trial(update["algorithm"], gain, update["flops"]))
    return found


def gained(report: Mapping[str, Any]) -> float | None:
    """The paired gain of a cycle. Reports of an older version don't tell it: there, the difference of the means."""
    if "gain" in report:
        return cast("float | None", report["gain"])
    before, after = (report[exam].get(report["task"]) for exam in ("before", "after"))
    return None if before is None or after is None else after - before


def alike(loop: Loop, observations: Sequence[Observation], answers: Sequence[str]) -> list[Observation | None]:
    """For each, the most similar remembered observation of the same question, to which the answer is wrong.

    What is right there is known from the world's expert, where it told, or else from a successful episode.
    """
    with loop.phase("memory", "looking for pictures that make an answer wrong"):
        found: dict[tuple[int, str], Observation | None] = {}
        for observation, answer in zip(observations, answers, strict=True):
            if (id(observation), answer) not in found:
                found[id(observation), answer] = _nearest_wrong(loop, observation, answer)
        return [found[id(o), answer] for o, answer in zip(observations, answers, strict=True)]


def _nearest_wrong(loop: Loop, observation: Observation, answer: str) -> Observation | None:
    near, episodes = _neighbours(loop, observation)
    for name, place, cosine in near:
        episode = episodes[name]
        step = episode.steps[place]
        right = step.info.get("expert") or (step.action.text if episode.success else None)
        same = step.observation.text == observation.text
        if same and right is not None and right != answer and _other_pictures(step, observation):
            why = f"similar: cosine {cosine:.2f} to what was shown, and another answer is right"
            loop.memory.draws.note(loop.next_cycle, "wrong pictures", [(name, why)])
            return step.observation
    return None


def _neighbours(loop: Loop, observation: Observation) -> tuple[list[tuple[str, int, float]], dict[str, Episode]]:
    """The most similar remembered steps and their episodes. What is lived while a cycle learns is nothing to it."""
    count = NEIGHBOURS
    while True:
        found = loop.memory.search(observation, count)
        episodes = {episode.id: episode for episode in loop.memory.get(list({name for name, _, _ in found}))}
        aside = {name for name, e in episodes.items() if e.group == LIVED and e.cycle == loop.next_cycle}
        near = [hit for hit in found if hit[0] not in aside]
        if len(near) >= NEIGHBOURS or len(found) < count:
            return near[:NEIGHBOURS], episodes
        count *= 2


def _other_pictures(step: Step, observation: Observation) -> bool:
    ours, theirs = observation.images, step.observation.images
    return len(ours) == len(theirs) and any(a.tobytes() != b.tobytes() for a, b in zip(ours, theirs, strict=True))
