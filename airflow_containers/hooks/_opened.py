"""A file at the service as a stream to read from."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from airflow_containers.api.transfers import Streamed


class OpenedFile(io.BufferedReader):
    """The content of a file while it arrives.

    :param streaming: the answer; entered now and left when this is closed.
    """

    def __init__(self, streaming: AbstractContextManager[Streamed[Iterator[bytes]]]) -> None:
        self._arriving = _Arriving(streaming)
        super().__init__(self._arriving, 64 * 1024)

    @property
    def size(self) -> int | None:
        """Bytes of the whole, where the server says so."""
        return self._arriving.size


class _Arriving(io.RawIOBase):
    def __init__(self, streaming: AbstractContextManager[Streamed[Iterator[bytes]]]) -> None:
        self._streaming = streaming
        streamed = streaming.__enter__()
        self.size = streamed.size
        self._pieces = streamed.pieces
        self._piece = memoryview(b"")
        self._broken: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            if self._broken is not None:
                # Who has caught it must not take the place of the break for the end of the file.
                raise self._broken
            try:
                piece = next(self._pieces, None)
            except BaseException as error:
                self._broken = error
                raise
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._streaming.__exit__(None, None, None)
