"""Reads the bodies of requests: whole into memory, or piece by piece."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from airflow_containers.local.errors import PayloadTooLargeError

DRAIN_FACTOR = 4


class ResetOrderedError(Exception):
    """A fault wants the connection reset at this point of the body; what was read is not carried out."""


class BodyReader:
    """The body of one request.

    :ivar size: bytes that were read so far.
    :ivar is_done: whether the body was read to its end.
    :ivar ended: when that was, by :func:`time.perf_counter`.
    :ivar reset_after: bytes after which :class:`ResetOrderedError` is raised; at the latest at the end.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0
        self.is_done = False
        self.ended = 0.0
        self.reset_after: int | None = None

    async def read(self) -> bytes:
        """The next piece; empty at the end, and it may be elsewhere.

        :raises starlette.requests.ClientDisconnect: when the connection ends before the body does.
        :raises ResetOrderedError: where a fault wants it.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        if not message.get("more_body", False):
            self.is_done = True
            self.ended = time.perf_counter()
        if self.reset_after is not None and (self.is_done or self.size >= self.reset_after):
            raise ResetOrderedError
        return chunk

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        :param limit: bytes, at most.
        :raises PayloadTooLargeError: when there are more.
        """
        while not self.is_done:
            chunk = await self.read()
            if self.size > limit:
                raise PayloadTooLargeError(limit)
            if chunk:
                yield chunk

    async def whole(self, limit: int) -> bytes:
        """The body in one piece.

        :param limit: bytes, at most.
        :raises PayloadTooLargeError: when there are more.
        """
        # Most bodies come in one piece, and for these every call counts.
        chunk = await self.read()
        if self.is_done and self.size <= limit:
            return chunk
        chunks = [chunk]
        if self.size > limit:
            raise PayloadTooLargeError(limit)
        async for chunk in self.pieces(limit):
            chunks.append(chunk)  # noqa: PERF401 - an asynchronous comprehension is slower to read
        return b"".join(chunks)

    async def drain(self, limit: int) -> bool:
        """Read the rest and throw it away; tells whether that was all of it.

        Clients read the answer only after they have sent everything, so let them, up to a point.

        :param limit: bytes of the whole body that are read at most.
        """
        while not self.is_done and self.size <= limit:
            await self.read()
        return self.is_done
