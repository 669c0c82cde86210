"""An episode on its way: what was said, what the world made of it, and how it ends."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.preface import FRONT, Asked, Prefaced, front
from envs.settings import Success
from envs.stage import Answer, Order, Raised, Say, Shown
from envs.types import Action, Choices, Episode, Observation, Reply, Step, StopReason, Ticket

IN_ACTION = ("command", "readable", "cost")
NOT_KEPT = (*IN_ACTION, FRONT)
"""Of a world's info: what stands elsewhere in a step, and what is not the world's to say."""


def ticket_rng(ticket_id: str) -> np.random.Generator:
    """The generator of one episode's draws: of its id alone, on any machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(ticket_id.encode()).digest()[:16], "big"))


class Flight:
    """One episode being played. `place` is that of its ticket, and its seat."""

    __slots__ = (
        "choices",
        "info",
        "observation",
        "place",
        "rng",
        "rule",
        "said",
        "seen",
        "steps",
        "stop",
        "success",
        "ticket",
        "version",
    )

    def __init__(self, place: int, ticket: Ticket, rule: Success, version: str) -> None:
        self.place, self.ticket, self.rule, self.version = place, ticket, rule, version
        self.rng = ticket_rng(ticket.id)
        self.steps: list[Step] = []
        self.said: Reply | None = None  # what the world has to answer
        self.observation = Observation("")  # what the world shows
        self.seen = Prefaced(self.observation)  # and what the actor saw of it
        self.choices: Choices = None
        self.info: Mapping[str, Any] | None = None  # the last one of a step that reached the env
        self.stop: StopReason | None = None
        self.success = False

    def ask(self) -> Asked:
        """What the world asks now."""
        return Asked(self.ticket, len(self.steps), self.observation)

    def say(self, seen: Prefaced, reply: Reply) -> Order:
        """What tells the world a reply to what was seen."""
        self.seen, self.said = seen, reply
        return Say(self.place, reply.text)

    def take(self, answer: Answer) -> None:
        """What the world made of it."""
        if isinstance(answer, Raised):
            if self.said is not None:
                self._keep(_action(self.said, None, False), Shown(self.observation, None), 0.0, {"error": answer.told})
            self._fail(answer.told)
            return
        if self.said is not None:
            info = answer.info
            kept = {key: value for key, value in info.items() if key not in NOT_KEPT}
            self._keep(_action(self.said, info["command"], info["readable"]), answer, info["cost"], kept)
            if info["command"] is not None:
                self.info = info
        self.observation, self.choices, self.said = answer.observation, answer.choices, None
        if answer.over:
            self._end(answer.terminated)

    def land(self) -> Episode:
        """The finished episode."""
        assert self.stop is not None
        ticket = self.ticket
        return Episode(
            id=ticket.id,
            task=ticket.task,
            seed=ticket.seed,
            group=ticket.group,
            member=ticket.member,
            cycle=ticket.cycle,
            policy_version=self.version,
            steps=tuple(self.steps),
            final=self.observation,
            stop=self.stop,
            success=self.success,
        )

    def _keep(self, action: Action, told: Shown, cost: float, info: Mapping[str, Any]) -> None:
        ended = told.terminated, told.truncated
        info = {**info, **front(self.seen, self.observation)}
        self.steps.append(Step(self.seen.observation, self.choices, action, told.reward, cost, *ended, info))

    def _end(self, terminated: bool) -> None:
        try:
            self.success = self.rule.holds([step.reward for step in self.steps], self.info)
            self.stop = StopReason.TERMINATED if terminated else StopReason.TRUNCATED
        except KeyError:
            self._fail(f'KeyError: "info has no {self.rule.info!r} at the end of the episode"')

    def _fail(self, told: str) -> None:
        """What the world raised stands where its last observation would."""
        self.stop = StopReason.ENV_ERROR
        self.observation = Observation(told)


def _action(reply: Reply, command: Any, readable: bool) -> Action:
    return Action(reply.text, reply.tokens, reply.logprobs, reply.mode, command, readable)
