"""What a command writes: read as it comes, kept to a limit."""

from __future__ import annotations

import asyncio
import os

_PIECE = 64 << 10


class Output:
    """Reads one pipe in the loop that runs.

    :param limit: bytes that are kept; the rest is read and dropped.
    :param uid: of who writes, if not this process's; also by the name ``/dev/stdout``, which asks for rights.
    :ivar writer: the end for the command.
    """

    def __init__(self, limit: int, uid: int | None = None) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._total = 0
        self._loop = asyncio.get_running_loop()
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        if uid is not None:
            os.fchown(self.writer, uid, uid)
        os.set_blocking(self._reader, False)
        self._loop.add_reader(self._reader, self._read)

    def _read(self) -> bool:
        try:
            piece = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return False
        if not piece:
            self._close_reader()
            return False
        self._total += len(piece)
        self._kept += piece[: max(self._limit - len(self._kept), 0)]
        return True

    def close_writer(self) -> None:
        """Leave the writing to the command."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _close_reader(self) -> None:
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1

    def close(self) -> None:
        """Read no more."""
        self.close_writer()
        self._close_reader()

    def finish(self) -> tuple[bytes, bool]:
        """Read what the pipe still has, when nobody writes any more.

        :returns: what was kept, and whether there was more.
        """
        self.close_writer()
        while self._reader >= 0 and self._read():
            pass
        return bytes(self._kept), self._total > self._limit
