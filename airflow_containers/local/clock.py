"""The server's clock: wall time plus an offset that tests can push forward."""

from __future__ import annotations

import time

MAX_ADVANCE = 10 * 366 * 86400
"""Seconds that one order may push the clock forward: ten years."""


class Clock:
    """Time as the server sees it. It never goes back, so that age and order of containers agree.

    :param offset: seconds ahead of the machine's clock; may be set, which starts anew from there.
    """

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    @property
    def offset(self) -> float:
        """Seconds ahead of the machine's clock."""
        return self._offset

    @offset.setter
    def offset(self, seconds: float) -> None:
        self._offset = seconds
        self._last = 0.0

    def now(self) -> float:
        """Unix time in seconds."""
        self._last = max(self._last, time.time() + self._offset)
        return self._last
