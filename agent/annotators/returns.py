"""The world's own judgement: the answer whose episode earned more is better.

It holds where the rest of both episodes was played alike; else it is right on average only.
"""

import math

from agent.judging import Answered
from envs.component import Settings
from memory.preferences import undiscounted_return


class Config(Settings):
    """Nothing to set."""

    def build(self) -> "Returns":
        return Returns()


class Returns:
    """The margin is in units of reward."""

    name = "returns"

    def judge(self, a: Answered, b: Answered) -> float | None:
        """See `agent.judging.Annotator`: the difference in undiscounted return. None if equal, or not finite."""
        difference = undiscounted_return(a.episode) - undiscounted_return(b.episode)
        return difference if difference and math.isfinite(difference) else None
