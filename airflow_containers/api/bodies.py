"""Bodies of requests that are read while they are sent: a file of any size costs a few pieces of memory.

A :class:`Body` can be sent again: each call of ``chunks()`` begins at the start. Its length is exact and
known before, which is what a server needs in order to tell a whole upload from one that broke off.
"""

from __future__ import annotations

import io
import mimetypes
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast, runtime_checkable

from airflow_containers.api.errors import InvalidRequestError, LocalFileError, SourceChangedError

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a source that are read and sent at a time."""

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"

_QUOTED: Final = {'"': "%22", "\\": "\\\\"} | {
    chr(code): f"%{code:02X}" for code in range(0x20) if chr(code) != "\x1b"
}
_TO_QUOTE: Final = re.compile("|".join(re.escape(character) for character in _QUOTED))


@runtime_checkable
class Body(Protocol):
    """What is sent as the body of a request."""

    @property
    def content_type(self) -> str:
        """Value of the ``content-type`` header."""

    @property
    def length(self) -> int:
        """Exact number of bytes."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body from its start, in pieces of at most 1 MiB, with files open only meanwhile."""


class Source(Protocol):
    """Bytes that somebody wants to send: a file on disk, a text, an object in a store."""

    @property
    def name(self) -> str:
        """Name that the receiver is told."""

    @property
    def size(self) -> int:
        """Number of bytes, fixed when the source was made."""

    def open(self) -> BinaryIO:
        """Return a new stream at the first byte; whoever opens it closes it."""


class PathSource:
    """A file on disk.

    :param path: the file. Its size is taken now.
    :param name: what the receiver is told, the file's own name if left out.
    :raises LocalFileError: if it cannot be looked at.
    :raises InvalidRequestError: if it is a folder or another thing without a size.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self.path = Path(path)
        self.name = _checked_name(self.path.name if name is None else name)
        try:
            status = self.path.stat()
        except OSError as error:
            raise LocalFileError(f"{self.path}: it cannot be read ({reason(error)})") from None
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(
                f"{self.path}: it is no regular file, expected a file whose size is known before it is sent"
            )
        self.size = status.st_size

    def __repr__(self) -> str:
        return f"<PathSource {str(self.path)!r} of {self.size} bytes>"

    def open(self) -> BinaryIO:
        """Return the file, opened for reading without a buffer: it is read in large pieces."""
        return self.path.open("rb", buffering=0)


class BytesSource:
    """Bytes in memory.

    :param name: what the receiver is told.
    :param data: the bytes.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self.name = _checked_name(name)
        self.data = data
        self.size = len(data)

    def __repr__(self) -> str:
        return f"<BytesSource {self.name!r} of {self.size} bytes>"

    def open(self) -> BinaryIO:
        """Return a stream over the bytes, which are not copied."""
        return io.BytesIO(self.data)


class WatchedSource:
    """A source whose bytes somebody else sees go by: for progress, or for a checksum.

    :param source: what is read.
    :param on_open: called when reading begins, again for every attempt.
    :param on_piece: called with each piece that was read.
    """

    def __init__(self, source: Source, on_open: Callable[[], None], on_piece: Callable[[bytes], Any]) -> None:
        self.source = source
        self.name = source.name
        self.size = source.size
        self._on_open = on_open
        self._on_piece = on_piece

    def open(self) -> BinaryIO:
        """Return the source's own stream, watched. It can be read and closed, no more."""
        stream = self.source.open()
        self._on_open()
        return cast(BinaryIO, _Stream(stream, on_piece=self._on_piece))


class PartOfSource:
    """Some bytes from the middle of a source whose streams can seek.

    :param source: the whole.
    :param start: the first byte.
    :param size: how many bytes.
    :param name: what the receiver is told.
    """

    def __init__(self, source: Source, start: int, size: int, name: str) -> None:
        self.source = source
        self.start = start
        self.size = size
        self.name = name

    def open(self) -> BinaryIO:
        """Return a stream that ends with the part. It can be read and closed, no more.

        The last part goes on to the end of the source, so that one that grew is noticed.
        """
        stream = self.source.open()
        try:
            stream.seek(self.start)
        except BaseException:
            stream.close()
            raise
        is_last = self.start + self.size >= self.source.size
        return cast(BinaryIO, _Stream(stream, left=None if is_last else self.size))


class _Stream:
    """Another stream, watched, or up to some byte only."""

    def __init__(
        self, stream: BinaryIO, *, on_piece: Callable[[bytes], Any] | None = None, left: int | None = None
    ) -> None:
        self._stream = stream
        self._on_piece = on_piece
        self._left = left

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(piece)
        if self._on_piece is not None:
            self._on_piece(piece)
        return piece

    def close(self) -> None:
        self._stream.close()


class JsonBody:
    """A JSON text.

    :param data: the text as UTF-8.
    """

    content_type = "application/json"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def __repr__(self) -> str:
        return f"<JsonBody of {self.length} bytes>"

    def chunks(self) -> Iterator[bytes]:
        """Yield the text, in pieces."""
        for start in range(0, self.length, CHUNK_BYTES):
            yield self.data[start : start + CHUNK_BYTES]


class MultipartBody:
    """A form with files (``multipart/form-data``, RFC 7578), byte for byte what httpx makes of one.

    :param fields: names and texts of the fields, which come first.
    :param files: name of the part, source, and content type of each file.
    :param boundary: what separates the parts; a new one if left out.
    """

    def __init__(
        self,
        fields: Iterable[tuple[str, str]] = (),
        files: Iterable[tuple[str, Source, str]] = (),
        *,
        boundary: str | None = None,
    ) -> None:
        boundary = secrets.token_hex(16) if boundary is None else boundary
        self.content_type = f"multipart/form-data; boundary={boundary}"
        start = f"--{boundary}\r\n".encode()
        self._parts: list[bytes | Source] = []
        for name, text in fields:
            heading = f"Content-Disposition: form-data; {_parameter('name', name)}\r\n\r\n"
            self._parts += (start + heading.encode() + text.encode() + b"\r\n",)
        for name, source, content_type in files:
            heading = (
                f"Content-Disposition: form-data; {_parameter('name', name)}; "
                f"{_parameter('filename', source.name)}\r\nContent-Type: {content_type}\r\n\r\n"
            )
            self._parts += (start + heading.encode(), source, b"\r\n")
        self._parts.append(f"--{boundary}--\r\n".encode())
        self.length = sum(len(part) if isinstance(part, bytes) else part.size for part in self._parts)

    def __repr__(self) -> str:
        return f"<MultipartBody of {self.length} bytes>"

    def chunks(self) -> Iterator[bytes]:
        """Yield the form. Small neighbours are put together: each piece is a system call.

        :raises SourceChangedError: if a source has more or fewer bytes than it had.
        :raises LocalFileError: if a source cannot be read.
        """
        return gathered(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from read_whole(part)


def read_whole(source: Source) -> Iterator[bytes]:
    """Yield exactly the bytes of a source, its last piece only once it is known to be the last.

    :raises SourceChangedError: if it has more or fewer bytes than ``source.size``.
    :raises LocalFileError: if it cannot be read.
    """
    left = source.size
    try:
        with closing(source.open()) as stream:
            while left:
                # One byte more than is due at the end, so that a file that grew is found before it is sent.
                piece = stream.read(CHUNK_BYTES if left >= CHUNK_BYTES else left + 1)
                if not piece:
                    raise _changed(source, f"it ended {left} bytes early")
                left -= len(piece)
                if left < 0 or (left == 0 and stream.read(1)):
                    raise _changed(source, "there are more now")
                yield piece
            if not source.size and stream.read(1):
                raise _changed(source, "there are more now")
    except OSError as error:
        if isinstance(error, LocalFileError):
            raise
        raise LocalFileError(f"{source.name}: it cannot be read ({reason(error)})") from None


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``pieces`` with small ones put together, up to 256 KiB."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if size and size + len(piece) > CHUNK_BYTES:
            yield b"".join(small)
            small, size = [], 0
        if len(piece) >= CHUNK_BYTES:
            yield piece
        else:
            small.append(piece)
            size += len(piece)
    if size:
        yield b"".join(small)


def guess_content_type(name: str) -> str:
    """Return the content type that a file's name speaks of."""
    return mimetypes.guess_type(name)[0] or DEFAULT_CONTENT_TYPE


def reason(error: OSError) -> str:
    """Return why a file could not be used, in the system's words."""
    return (error.strerror or type(error).__name__).lower()


def _changed(source: Source, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{source.name}: it had {source.size} bytes when the upload began, and {how}; the request was not "
        "finished. Upload it once nobody writes to it any more"
    )


def _checked_name(name: str) -> str:
    if not name:
        raise InvalidRequestError("name: it is empty, expected the file's name")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidRequestError(
            f"name: {name.encode('utf-8', 'backslashreplace').decode()!r} is not UTF-8; give another name"
        )
    return name


def _parameter(name: str, value: str) -> str:
    return f'{name}="{_TO_QUOTE.sub(lambda found: _QUOTED[found[0]], value)}"'
