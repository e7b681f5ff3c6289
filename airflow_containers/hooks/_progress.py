"""What a task's log says of a transfer: a line now and then while it lasts, and one at its end."""

from __future__ import annotations

import time
from typing import Any, Final

INTERVAL_SECONDS: Final = 10.0
"""Between two lines, and before the first one."""

MIN_BYTES_TO_TELL: Final = 8 * 1024 * 1024
"""A smaller transfer that takes less than an interval is not told."""


class TransferLog:
    """Tells how far a transfer is.

    :param log: a logger.
    :param what: what is done, such as ``Uploading report.csv``.
    :param total: bytes of the whole, ``None`` if nobody knows.
    """

    def __init__(self, log: Any, what: str, total: int | None) -> None:
        self._log = log
        self._what = what
        self._total = total
        self._began = self._told = time.monotonic()
        self._moved = 0

    def begin(self) -> None:
        """Count from the start: an attempt begins."""
        self._moved = 0

    def add(self, piece: bytes) -> None:
        """Count some bytes more."""
        self.reached(self._moved + len(piece))

    def reached(self, moved: int) -> None:
        """Take how many bytes have moved."""
        self._moved = moved
        now = time.monotonic()
        if now - self._told >= INTERVAL_SECONDS:
            self._told = now
            of = f" of {_megabytes(self._total)} ({_percent(moved, self._total)})" if self._total else ""
            self._log.info("%s: %s%s", self._what, _megabytes(moved), of)

    def end(self, moved: int) -> None:
        """Take how many bytes it was in the end."""
        seconds = time.monotonic() - self._began
        if moved >= MIN_BYTES_TO_TELL or self._told > self._began:
            speed = moved / 1e6 / max(seconds, 0.001)
            self._log.info("%s: done, %d bytes in %.1f s, %.1f MB/s", self._what, moved, seconds, speed)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part // whole} %"
