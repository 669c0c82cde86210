"""The champion acts while the candidate learns, in turns, and the learning doesn't notice: not by a single bit.

Which rows share a forward depends on what is kept of earlier ones and on how often memory ran out, and a decision may
rest on operations counted. So whoever acts aside has caches, counts and a token budget of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.lvlm.adapters import CHAMPION
from agent.lvlm.kept import Kept, Tally
from agent.lvlm.lower import LowerStates
from agent.lvlm.rows import Prompt
from agent.policy import Policy

MOST_PROMPTS = 20_000
SHARE = 8
"""Of what is kept for learning, an eighth is kept aside: a life meets little twice but from one turn to the next."""


class Aside:
    """Turns of the champion. What it keeps from one to the next is bounded by a `SHARE` of what it stands in for."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._opinions: Kept[Any] = Kept(policy.decider.kept.limit_bytes // SHARE)
        self._states = LowerStates(policy.engine.kept.limit_bytes // SHARE)
        self._pictures: Kept[Any] = Kept(policy.vision.kept.limit_bytes // SHARE)
        self._tallies = (Tally(), Tally())
        self._budget = (policy.budget.tokens, policy.budget.halvings)
        self._prompts: dict[tuple[Any, ...], Prompt] = {}
        self._longest = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """For the length of a block, the champion speaks; afterwards all is as it was, but for what it said."""
        operations = self._policy.flops
        self._exchange()
        try:
            with self._policy.using(CHAMPION):
                yield
        finally:
            self._exchange()
            self._policy.operations.back_to(operations)
            if len(self._prompts) > MOST_PROMPTS:
                self._prompts = {}

    def _exchange(self) -> None:
        """Ours for theirs, and back."""
        policy, budget = self._policy, self._policy.budget
        decider, engine, vision, prompter = policy.decider, policy.engine, policy.vision, policy.prompter
        decider.kept, self._opinions = self._opinions, decider.kept
        engine.kept, self._states = self._states, engine.kept
        vision.kept, self._pictures = self._pictures, vision.kept
        (decider.tally, vision.tally), self._tallies = self._tallies, (decider.tally, vision.tally)
        prompter.prompts, self._prompts = self._prompts, prompter.prompts
        prompter.longest_seen, self._longest = self._longest, prompter.longest_seen
        (budget.tokens, budget.halvings), self._budget = self._budget, (budget.tokens, budget.halvings)
