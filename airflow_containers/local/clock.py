"""The server's clock: wall time plus an offset that tests can push forward."""

from __future__ import annotations

import time

MAX_ADVANCE = 10 * 366 * 86400
"""Seconds that one order may push the clock forward: ten years."""


class Clock:
    """Time as the server sees it.

    :param offset: seconds ahead of the machine's clock.
    """

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time() + self.offset
