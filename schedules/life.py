"""A champion's life: where it lives, what is kept of it, and the watch over it.

Which episode is lived when is decided by its number alone: from it derive its id, its regime, its seed and its luck.
So a life that was stopped goes on where it was, and an episode is never lived twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial

import numpy as np

from agent.aside import Aside
from envs.collect import WorldPool
from envs.living import Living
from envs.types import Episode, Ticket
from memory.schema import LIVED
from schedules.config import StreamSettings
from schedules.diary import Come, Diary
from schedules.in_order import InOrder, placed
from schedules.lived import lived_of
from schedules.loop import Loop
from schedules.seeds import generator, training_seed
from schedules.serving import MOST_WORLDS, LifePhase, before, slot
from schedules.story import Story
from schedules.watch import Watch

Clock = Callable[[], datetime]
ROOM_EVERY = 1024
"""Lived episodes after which memory is brought back to its bounds where no cycle does it."""
ROOMY = "roomy"
"""The fact that keeps how many were lived when that was done last."""


class Life:
    """The life of a run's champion.

    Attributes:
        come: how far it has come.
        decisions: taken since this process began, in episodes that ended.
    """

    def __init__(self, loop: Loop, diary: Diary, clock: Clock) -> None:
        """Go on where the diary ends: the watch sees once more what is kept of what it has seen."""
        stream = loop.stream
        self.loop, self.diary, self.clock = loop, diary, clock
        self.story = Story(loop.database)
        self.replaces = {name: regime.replaces for name, regime in stream.regimes.items()}
        self._slots = {name: slot(name, self.replaces) for name in self.replaces}
        self._regime_of = lru_cache(2 * MOST_WORLDS)(partial(regime_of, stream))  # what goes on is asked at each end
        self.come = self._placed(diary.come())
        self.watch = Watch(stream.drift)
        self._in_order = InOrder()
        for _, lived in self._in_order.turn(diary.since_reset(), self.come):
            self.watch.see(lived)
        self._aside = Aside(loop.policy)
        self._asked = self.come.next
        self._pool = WorldPool({name: regime.world for name, regime in stream.regimes.items()}, stream.workers)
        self._living = Living(loop.policy, self._pool, stream.service.worlds, self._tickets())
        self.decisions = 0

    def close(self) -> None:
        """Close the worlds."""
        self._pool.close()

    def tick(self) -> list[Episode]:
        """Let the champion take one decision in each of its worlds; what ended is remembered, and given back."""
        with self._aside.turn():
            episodes = self._living.tick()
            if episodes:
                self._keep(episodes)
        return episodes

    def make_room(self) -> None:
        """Bring memory back to its bounds now and then; never while a cycle learns."""
        if self.come.total - (self.diary.fact(ROOMY) or 0) < ROOM_EVERY:
            return
        with self.loop.database.transaction():
            self.loop.memory.settle(generator(self.loop.stream.seed, "life", self.come.next))
            self.diary.note(ROOMY, self.come.total)
        self.loop.memory.save_index()

    def promoted(self) -> None:
        """Another champion lives from now on; what was under way begins anew with it."""
        self.watch.reset()
        self._in_order.clear()
        with self._aside.turn():
            self._living.begin_anew()

    def phase(self) -> tuple[int, LifePhase]:
        """The number of the present phase, from 0, and the phase."""
        return phase_of(self.loop.stream, self.come.next)

    def _tickets(self) -> Iterator[Ticket]:
        while True:
            number = self._asked
            self._asked += 1
            if number not in self.come.ahead:
                yield ticket(self.loop.stream, number, self.loop.next_cycle)

    def _keep(self, episodes: Sequence[Episode]) -> None:
        """One transaction: the episodes, the numbers that drift is seen in, the alarms, and how far life has come."""
        loop = self.loop
        episodes = [replace(episode, cycle=loop.next_cycle) for episode in episodes]  # a cycle may have ended meanwhile
        observations = [step.observation for episode in episodes for step in episode.steps]
        ends = np.cumsum([len(episode.steps) for episode in episodes])[:-1]
        rows = loop.embedder.embed(observations) if observations else np.empty((0, loop.embedder.dimension), np.float32)
        vectors = np.split(rows, ends)
        with loop.database.transaction():
            loop.memory.add(episodes, vectors)
            lived = []
            for episode, of_it in zip(episodes, vectors, strict=True):
                known = {episode.task, *before(episode.task, self.replaces)}
                place = self._slots[episode.task]
                seen = lived_of(episode.member, episode, of_it, loop.memory, place, known, loop.next_cycle)
                if seen is not None:
                    lived.append((episode.task, seen))
            self.come = self._placed(self.come.after([e.member for e in episodes], [e.task for e in episodes]))
            turn = self._in_order.turn(lived, self.come)
            alarms = [(regime, alarm) for regime, seen in turn for alarm in self.watch.see(seen)]
            self.diary.write(self.come, lived, alarms, self.clock())
            self.story.write([seen for _, seen in lived])
        self.decisions += len(observations)
        for _, alarm in alarms:
            loop.progress.done(f"Alarm: {alarm.sentence}.")

    def _placed(self, come: Come) -> Come:
        return placed(come, self._regime_of, self._slots)


def ticket(stream: StreamSettings, number: int, cycle: int) -> Ticket:
    """The ticket of a lived episode; `cycle` is the one to come, or the one that is learning meanwhile."""
    name, task = name_of(stream, number), regime_of(stream, number)
    return Ticket(f"{stream.seed}/{name}", task, training_seed(stream.seed, name), LIVED, number, cycle)


def name_of(stream: StreamSettings, number: int) -> str:
    """What all chance of a lived episode derives from."""
    return f"{stream.stream}/life/{number}"


def regime_of(stream: StreamSettings, number: int) -> str:
    """Where an episode is lived."""
    _, phase = phase_of(stream, number)
    shares = np.array(list(phase.regimes.values()))
    draw = generator(stream.seed, name_of(stream, number), "regime")
    return list(phase.regimes)[int(draw.choice(len(shares), p=shares / shares.sum()))]


def phase_of(stream: StreamSettings, number: int) -> tuple[int, LifePhase]:
    """In which phase an episode is lived, from 0. Without phases: all regimes that replace no other, evenly."""
    phases = stream.service.life
    if not phases:
        return 0, LifePhase(regimes={name: 1.0 for name, regime in stream.regimes.items() if regime.replaces is None})
    last = 0
    for i, phase in enumerate(phases[:-1]):
        last += phase.episodes
        if number <= last:
            return i, phase
    return len(phases) - 1, phases[-1]
