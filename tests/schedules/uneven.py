"""A world whose episodes take one answer or nine: lived side by side, they end in another order than they began."""

from typing import Any

import gymnasium

from envs.copycat import Copycat

SHORT, LONG = 1, 9


class Uneven(Copycat):
    """`Copycat` of a length that its seed decides."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the length, and the first word."""
        shown = super().reset(seed=seed, options=options)
        self._length = SHORT if self.np_random.random() < 0.5 else LONG
        return shown


gymnasium.register(id="Uneven-v0", entry_point="tests.schedules.uneven:Uneven")
