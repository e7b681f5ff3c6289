"""Our end of a transfer: a body that leaves, and a file that arrives. Knows no HTTP client."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Generic, TypeVar

from airflow_containers.api.bodies import Body, reason
from airflow_containers.api.errors import LocalFileError, SourceChangedError

BATCH_BYTES: Final = 512 * 1024
"""Bytes that are written to disk at a time, while the next ones arrive."""

MAX_PIECES: Final = 512
"""Pieces that are written at a time; the system takes 1,024."""

MAX_ERROR_BYTES: Final = 65_536
"""A longer body with status 200 is no error text that a gateway has let through."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")

PiecesT = TypeVar("PiecesT")


@dataclass(frozen=True)
class Downloaded:
    """A file that has arrived.

    :param path: where it is.
    :param bytes: its size.
    """

    path: Path
    bytes: int

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file as hexadecimal digits, made when it is first asked for.

        Not on the way: it takes as long as the transfer itself on a fast line, and not everybody needs it.

        :raises LocalFileError: if the file is not there any more, or has changed its size.
        """
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
                size = file.tell()
        except OSError as error:
            raise LocalFileError(f"{self.path}: it cannot be read ({reason(error)})") from None
        if size != self.bytes:
            raise LocalFileError(f"{self.path}: it has {size} bytes now, and had {self.bytes} when it came")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Streamed(Generic[PiecesT]):
    """The content of a file that is being received; its status was checked.

    :param size: bytes of the whole, where the server says so.
    :param pieces: the content, in pieces of some 64 KiB, once.
    """

    size: int | None
    pieces: PiecesT


class UnusableAnswerError(Exception):
    """An answer whose status is a success and whose content is not what was asked for.

    :param detail: what it says itself, as it came.
    """

    def __init__(self, problem: str, detail: str = "") -> None:
        super().__init__(problem)
        self.detail = detail


class Sending:
    """A body on its way; knows whether all of it was handed over.

    A server that has not got the whole of a body cannot have carried the request out.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        self.sent = 0
        self._put_off: Callable[[], None] = lambda: None

    @property
    def whole(self) -> bool:
        """Whether the last byte was handed over in this attempt."""
        return self.sent >= self.body.length

    def begin(self, put_off: Callable[[], None]) -> None:
        """Begin an attempt.

        :param put_off: called when a piece is gone, so that the time for the next one begins.
        """
        self.sent = 0
        self._put_off = put_off

    def leaving(self, piece: bytes) -> bytes:
        """Count a piece that is handed over next, and return it."""
        if self.sent:
            self._put_off()
        self.sent += len(piece)
        if self.sent > self.body.length:
            raise self._changed("more")
        return piece

    def end(self) -> None:
        """Make sure that nothing is missing."""
        if self.sent != self.body.length:
            raise self._changed("fewer")

    def pieces(self) -> Iterator[bytes]:
        """Yield the body for a client that may block."""
        for piece in self.body.chunks():
            yield self.leaving(piece)
        self.end()

    def _changed(self, how: str) -> SourceChangedError:
        return SourceChangedError(
            f"the body of a request has {how} bytes than the {self.body.length} that were announced; the "
            "request was not finished. Upload once nobody writes to the file any more"
        )


class Receiving:
    """A file that arrives, over several attempts, under a temporary name beside its target.

    :meth:`take` gathers what arrives, :meth:`write` blocks: a client calls it where that does no harm.

    :param target: where the file is to be in the end; what is there is replaced, and only then.
    :param expected_bytes: size that it must have, ``None`` if nobody knows.
    :param progress: called with the bytes received so far; what it raises ends the download.
    :param on_size: called with the size that is announced, before a byte is written; what it raises ends the
        download.
    """

    def __init__(
        self,
        target: Path,
        expected_bytes: int | None = None,
        progress: Callable[[int], None] | None = None,
        on_size: Callable[[int], None] | None = None,
    ) -> None:
        self.target = Path(target)
        self.received = 0
        self._written = 0
        self._expected = expected_bytes
        self._progress = progress
        self._on_size = on_size
        self._part = self.target.parent / f".{secrets.token_hex(8)}.part"
        self._file: BinaryIO | None = None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._announced: int | None = None
        self._etag: str | None = None
        self._may_be_error = False

    def open(self) -> None:
        """Make the temporary file.

        :raises LocalFileError: if the folder is missing or cannot be written to.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        try:
            # Not a temporary file of the standard library: its mode would keep others from the result.
            self._file = os.fdopen(os.open(self._part, flags, 0o666), "w+b", buffering=0)
        except OSError as error:
            raise LocalFileError(f"{self.target}: it cannot be written ({reason(error)})") from None

    def resume_headers(self) -> dict[str, str]:
        """Return what asks for the rest only, if the server has offered that."""
        if not self.received or self._etag is None:
            return {}
        return {"range": f"bytes={self.received}-", "if-range": self._etag}

    def start_over(self) -> None:
        """Ask for the whole file next time."""
        self._etag = None

    def begins(self, status: int, headers: Mapping[str, str]) -> bool:
        """Take an answer's status and headers before its first byte.

        :returns: whether a file follows; else it is an error, and no byte of it may be written.
        :raises UnusableAnswerError: if it is a success and no such file.
        """
        if not 200 <= status < 300:
            return False
        length = headers.get("content-length", "")
        left = int(length) if length.isdecimal() and len(length) < 20 else None
        encoded = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
        if status == 206 and self.resume_headers():
            problem = self._takes_rest(headers, encoded=encoded)
            if problem is not None:
                self.start_over()
                raise UnusableAnswerError(problem)
        elif status == 200:
            self._restart()
            self._announced = None if encoded else left
            etag = headers.get("etag", "")
            ranges = headers.get("accept-ranges", "").strip().lower()
            strong = bool(etag) and not etag.startswith("W/") and etag.isascii()
            self._etag = etag if strong and ranges == "bytes" and not encoded else None
            self._may_be_error = self._expected is None and may_be_error(headers)
        else:
            raise UnusableAnswerError("a status that is none of a whole file")
        if self._announced is not None and self._expected not in (None, self._announced):
            raise UnusableAnswerError(
                f"a content of {self._announced} bytes where {self._expected} were expected"
            )
        if self._announced is not None and self._on_size is not None:
            self._on_size(self._announced)
        return True

    def _takes_rest(self, headers: Mapping[str, str], *, encoded: bool) -> str | None:
        """Return what is wrong with a part that was asked for, if anything is."""
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if found is None or int(found[1]) != self.received or encoded:
            return "another part of the file than the one that was asked for"
        # A server may give out less of the rest than was asked for: what counts is the size of the whole.
        whole = self._announced if found[2] == "*" else int(found[2])
        if whole is None or self._announced not in (None, whole):
            return "a part of a file of another size, or of one whose size it does not tell"
        self._announced = whole
        return None

    def take(self, piece: bytes) -> list[bytes] | None:
        """Gather what arrived; returns what is due to be written."""
        self.received += len(piece)
        if self._expected is not None and self.received > self._expected:
            raise UnusableAnswerError(f"more than the {self._expected} bytes that were expected")
        self._gathered.append(piece)
        self._gathered_bytes += len(piece)
        full = self._gathered_bytes >= BATCH_BYTES or len(self._gathered) >= MAX_PIECES
        return self.rest() if full else None

    def rest(self) -> list[bytes]:
        """Return what was gathered and not given out yet."""
        batch, self._gathered, self._gathered_bytes = self._gathered, [], 0
        return batch

    def write(self, batch: list[bytes]) -> None:
        """Write some pieces, in their order.

        :raises LocalFileError: if the disk is full, or cannot be written to.
        """
        if self._file is None:
            return
        try:
            # One system call, in which other threads go on.
            written = os.writev(self._file.fileno(), batch) if batch else 0
            self._written += written
            if written < sum(map(len, batch)):
                self._write_slowly(b"".join(batch)[written:])
        except OSError as error:
            raise LocalFileError(
                f"{self.target}: it cannot be written after {self._written} bytes ({reason(error)}); "
                "nothing of it was kept"
            ) from None
        if self._progress is not None:
            self._progress(self._written)

    def _write_slowly(self, rest: bytes) -> None:
        while rest and self._file is not None:
            written = os.write(self._file.fileno(), rest)
            self._written += written
            rest = rest[written:]

    def check(self) -> None:
        """Make sure that what has arrived is the file. Everything is written by now.

        :raises UnusableAnswerError: if it is not.
        """
        for wanted, who in ((self._announced, "announced"), (self._expected, "expected")):
            if wanted is not None and wanted != self.received:
                raise UnusableAnswerError(f"{self.received} bytes where {wanted} were {who}")
        if self._may_be_error and self.received <= MAX_ERROR_BYTES and self._file is not None:
            self._file.seek(0)
            check_no_error(self._file.read())

    def commit(self) -> Downloaded:
        """Move the complete file to its place.

        :raises LocalFileError: if it cannot be put there.
        """
        try:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._part.replace(self.target)
        except OSError as error:
            raise LocalFileError(f"{self.target}: it cannot be written ({reason(error)})") from None
        return Downloaded(self.target, self.received)

    def discard(self) -> None:
        """Remove the temporary file, if there still is one."""
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _restart(self) -> None:
        self._gathered, self._gathered_bytes = [], 0
        if self._file is not None and self.received:
            try:
                self._file.seek(0)
                self._file.truncate()
            except OSError as error:
                raise LocalFileError(f"{self.target}: it cannot be written ({reason(error)})") from None
        self.received = self._written = 0


def may_be_error(headers: Mapping[str, str]) -> bool:
    """Whether the headers of an answer with status 200 leave it open that its body is an error."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def check_no_error(body: bytes) -> None:
    """Make sure that a body is no error envelope and nothing else; gateways give some out with status 200.

    :raises UnusableAnswerError: if it is.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return
    error = data["error"] if isinstance(data, dict) and data.keys() == {"error"} else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        raise UnusableAnswerError("an error in its body", error["message"])
