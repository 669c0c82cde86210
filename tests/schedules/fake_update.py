"""An update that plays one round and takes steps that change nothing: for tests of what is around it."""

from collections.abc import Generator

from agent.learner import Metrics
from agent.lesson import Lesson
from agent.report import UpdateReport
from envs.component import Settings


class Config(Settings):
    """`steps` of nothing."""

    steps_taken: int = 3

    def build(self) -> "Nothing":
        return Nothing(self)


class Nothing:
    """Implements `agent.learner.Update`."""

    def __init__(self, settings: Config) -> None:
        self.settings = settings

    def steps(self, lesson: Lesson) -> Generator[Metrics, None, UpdateReport]:
        """See `agent.learner.Update`."""
        fresh = lesson.play(2, 2)
        for _ in range(self.settings.steps_taken):
            yield {"loss": 0.0}
        return UpdateReport("nothing", self.settings.steps_taken, len(fresh.episodes), 0, None, None)
