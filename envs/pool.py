"""The worlds of a run, and the processes they are played in."""

from collections.abc import Mapping

from envs.component import UserError
from envs.instances import Instances
from envs.multimodal import WorldSettings
from envs.stage import Here, Stage
from envs.workers import Workers


class WorldPool(Instances):
    """World instances of this process, and a stage on which `collect` plays many.

    Attributes:
        stage: this process, or worker processes, which start when they are first needed.
    """

    def __init__(self, worlds: Mapping[str, WorldSettings], workers: int = 0) -> None:
        """Nothing is made or started yet.

        Args:
            worlds: settings by task.
            workers: processes that play worlds while the model thinks; 0 plays them in this one. Episodes are the same.

        Raises:
            UserError: `workers` is negative.
        """
        if workers < 0:
            raise UserError(f"workers is {workers}: set it to 0 (worlds in this process) or a number of processes.")
        super().__init__(worlds)
        self.stage: Stage = Workers(worlds, workers) if workers else Here(self)

    def close(self) -> None:
        """Close every instance that is not in use, and end the workers."""
        super().close()
        self.stage.abandon()
