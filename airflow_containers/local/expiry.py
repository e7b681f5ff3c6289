"""Removes contents whose time is over, also when nobody asks again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence

INTERVAL = 5.0
"""Seconds between two passes while the server runs; so long contents may outlive their time, at most."""


class Housekeeper:
    """Passes over everything that may expire.

    A pass is made at the start of the server, after each order to its clock, and every :data:`INTERVAL`.

    :param sweeps: remove what is over, one service each.
    """

    def __init__(self, sweeps: Sequence[Callable[[], None]]) -> None:
        self._sweeps = sweeps

    def sweep(self) -> None:
        """Make one pass."""
        for sweep in self._sweeps:
            sweep()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Make passes in the background."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                self.sweep()
            except Exception:  # noqa: BLE001 - a disk that fails now may not the next time
                sys.stderr.write(f"removing what has expired failed:\n{traceback.format_exc()}\n")
