"""Answers with the contents of a file, streamed, whole or in part."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_containers.local.blobs import Incoming

TRANSPORT = "airflow_containers.transport"
"""Key of the connection's transport in ``scope["extensions"]``."""

_CHUNK_BYTES = 256 << 10
_SMALL_BYTES = 64 << 10
_RANGE = re.compile(r"bytes=\s*(?:(\d+)-(\d*)|-(\d+))\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Content:
    """Contents on disk.

    :param size: in bytes.
    :param sha256: their checksum, in hex.
    """

    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, incoming: Incoming) -> Content:
        """Contents that have come in."""
        return cls(incoming.path, incoming.size, incoming.sha256)


@dataclass(frozen=True, slots=True)
class OpenContent:
    """Contents of a file that others may change, open already; whoever gets it closes it.

    :param size: in bytes, when it was opened.
    :param tag: another one means other contents.
    """

    file: IO[bytes]
    size: int
    tag: str


class ContentShrunkError(RuntimeError):
    """A file became shorter while it was sent, so the answer cannot be what it announced."""


class FileAnswer(Response):
    """An answer whose body is read from a file while it is sent.

    A file is opened here: one that is deleted while it is sent is sent to its end.

    :param source: the file; one that is open is closed at the end of the body.
    :param start: first byte.
    :param stop: byte after the last one.
    """

    def __init__(
        self, source: Path | IO[bytes], start: int, stop: int, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(None, status, {**headers, "content-length": str(stop - start)})
        self.length = stop - start
        self._file = source.open("rb", buffering=0) if isinstance(source, Path) else source
        self._start = start

    def close(self) -> None:
        """Close the file of an answer that is not sent."""
        self._file.close()

    async def pieces(self, length: int, step: int = _CHUNK_BYTES) -> AsyncGenerator[bytes, None]:
        """The first ``length`` bytes of the body, in pieces of ``step``; the file is closed at the end.

        :raises ContentShrunkError: when the file has fewer bytes by now.
        """
        loop = asyncio.get_running_loop()
        number = self._file.fileno()
        position, stop = self._start, self._start + length

        def read_ahead() -> asyncio.Future[bytes]:
            return loop.run_in_executor(None, os.pread, number, min(step, stop - position), position)

        ahead: asyncio.Future[bytes] | None = None
        try:
            if length <= min(step, _SMALL_BYTES):
                # Another thread would cost more than it takes off this one.
                piece = os.pread(number, length, position)
                position += len(piece)
                if piece:
                    yield piece
            else:
                # Reads that the disk must serve would hold up everybody else, so a thread reads ahead.
                ahead = read_ahead()
                while piece := await ahead:
                    position += len(piece)
                    ahead = read_ahead()
                    yield piece
            if position < stop:
                raise ContentShrunkError(f"{stop - position} bytes are missing")
        finally:
            # Not before the thread is done, as the number of a closed file may be another one's by then.
            if ahead is not None:
                await asyncio.wait((ahead,))
            self._file.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or as much as somebody is there to read.

        :raises ContentShrunkError: when the file became shorter, and there is no connection to be cut.
        """
        transport = cast("asyncio.Transport | None", scope.get("extensions", {}).get(TRANSPORT))
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with contextlib.aclosing(self.pieces(self.length)) as pieces:
                async for piece in pieces:
                    if transport is not None and transport.is_closing():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ContentShrunkError:
            if transport is None:
                raise
            # The client sees that bytes are missing, which no other end of this answer would tell it.
            transport.close()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.body", "body": b""})


def content_answer(
    request: Request,
    content: Content | OpenContent,
    *,
    ranges: bool,
    media_type: str = "application/octet-stream",
) -> Response:
    """The answer to a ``GET …/content``.

    With ``ranges``, it has an ``ETag``, and one range of bytes may be asked for, with or without
    ``If-Range``; what is no single range of bytes is answered in full, as the standard allows.
    """
    source: Path | IO[bytes]
    if isinstance(content, OpenContent):
        source, tag = content.file, content.tag
    else:
        source, tag = content.path, content.sha256
    # A browser must not take contents for a page of this server.
    headers = {"content-type": media_type, "x-content-type-options": "nosniff"}
    size, etag = content.size, f'"{tag}"'
    if not ranges:
        return FileAnswer(source, 0, size, 200, headers)
    headers |= {"etag": etag, "accept-ranges": "bytes"}
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or request.headers.get("if-range", etag) != etag:
        return FileAnswer(source, 0, size, 200, headers)
    start, stop = _span(match, size)
    if start < 0:
        return FileAnswer(source, 0, size, 200, headers)
    if start >= stop:
        if isinstance(content, OpenContent):
            content.file.close()
        return Response(None, 416, headers | {"content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return FileAnswer(source, start, stop, 206, headers)


def _span(match: re.Match[str], size: int) -> tuple[int, int]:
    """First byte and the one after the last; the first is negative for a range that is none."""
    # Numbers of any length can come; beyond these digits they are past the end of every file.
    first, last, suffix = (int(text[:18]) if text else None for text in match.groups())
    if first is None:
        return max(size - (suffix or 0), 0), size
    if last is None:
        return first, size
    return (-1, 0) if last < first else (first, min(last + 1, size))
