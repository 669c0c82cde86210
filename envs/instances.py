"""World instances, made when first needed and used again."""

import contextlib
from collections.abc import Mapping

from envs.component import UserError
from envs.multimodal import World, WorldSettings, make_world


class Instances:
    """The worlds of one process; an instance is in one hand at a time."""

    def __init__(self, worlds: Mapping[str, WorldSettings]) -> None:
        self._settings = dict(worlds)
        self._free: dict[str, list[World]] = {task: [] for task in worlds}

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks there are worlds for."""
        return tuple(self._settings)

    def settings(self, task: str) -> WorldSettings:
        """The settings of a task's world.

        Raises:
            UserError: no such task.
        """
        if task not in self._settings:
            raise UserError(f"no task {task!r}. There are: {', '.join(self._settings)}.")
        return self._settings[task]

    def take(self, task: str) -> World:
        """An instance for sole use, until `give_back` or `discard`."""
        settings = self.settings(task)
        free = self._free[task]
        return free.pop() if free else make_world(settings)

    def give_back(self, task: str, world: World) -> None:
        """Keep a sound instance for the next episode."""
        self._free[task].append(world)

    def discard(self, world: World) -> None:
        """Close an instance that raised: nothing is known about its state."""
        with contextlib.suppress(Exception):
            world.close()

    def close(self) -> None:
        """Close every instance that is not in use."""
        for free in self._free.values():
            while free:
                self.discard(free.pop())
