"""The head of a request, read with no leniency at all.

Whatever one reader could take for the end of a line, for another header or for another length than the next
reader does is refused here, before any library sees it.
"""

from __future__ import annotations

import asyncio
import re

from airflow_containers.local.egress.refusals import Refusal
from airflow_containers.local.egress.streams import READ_BYTES, Stream

MAX_HEAD = 64 << 10
"""Bytes of a request's head."""

MAX_FIELDS = 200

_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} [\x21-\x7e]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_HTTP_2 = b"PRI * HTTP/2.0"


def bad_request(reason: str) -> Refusal:
    """An answer to what is no proper request."""
    return Refusal(400, "Bad Request", reason)


def check_head(head: bytes) -> None:
    """Check the head of a request, with the empty line at its end.

    :raises Refusal: when it is not exactly as the grammar of HTTP/1.1 has it, or has two lengths.
    """
    first, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if first.startswith(_HTTP_2):
        raise Refusal(505, "HTTP/2 not spoken", "The proxy speaks HTTP/1.1 only.")
    if not _REQUEST_LINE.fullmatch(first):
        raise bad_request("The request line is malformed.")
    if len(fields) > MAX_FIELDS:
        raise Refusal(431, "Too many header fields", f"A request has at most {MAX_FIELDS} header fields.")
    framings = [framing for framing in map(_check_field, fields) if framing is not None]
    if len(framings) > 1:
        raise bad_request("The length of the body is given twice (Content-Length, Transfer-Encoding).")
    if framings == [_CODING] and first.endswith(b"1.0"):
        raise bad_request("HTTP/1.0 has no Transfer-Encoding.")


def _check_field(field: bytes) -> bytes | None:
    """Check one header line; returns its name when it says where the body ends."""
    if field[:1] in {b" ", b"\t"}:
        raise bad_request("A header goes on in a second line, which HTTP no longer allows.")
    found = _FIELD.fullmatch(field)
    if found is None:
        raise bad_request("A header line is malformed.")
    name, value = found[1].lower(), found[2].strip(b" \t")
    if name == _LENGTH:
        if not value.isdigit():
            raise bad_request("Content-Length is not a number.")
        return name
    if name == _CODING:
        if value.lower() != b"chunked":
            raise Refusal(501, "Transfer-Encoding not known", "The only Transfer-Encoding is chunked.")
        return name
    return None


class RequestReader:
    """Reads what a client sends: heads one by one, and bodies in between.

    :ivar buffer: what was read and not used.
    """

    def __init__(self, stream: Stream, buffer: bytes = b"") -> None:
        self.stream = stream
        self.buffer = buffer

    async def head(self, seconds: float, seconds_to_begin: float) -> bytes | None:
        """The next head, or ``None`` when the client has ended or sends nothing.

        :param seconds: in which all of it has to come, once it has begun.
        :raises Refusal: when it is too long or too slow, or malformed.
        """
        try:
            if not self.buffer:
                async with asyncio.timeout(seconds_to_begin):
                    self.buffer = await self.stream.read()
            async with asyncio.timeout(seconds):
                while True:
                    found = self._take()
                    if found is not None:
                        return found
                    data = await self.stream.read(READ_BYTES)
                    if not data:
                        return None
                    self.buffer += data
        except TimeoutError:
            if not self.buffer:
                return None
            raise Refusal(408, "Request Timeout", f"The request took longer than {seconds:g} s.") from None

    def _take(self) -> bytes | None:
        # Empty lines before a request are leftovers of careless clients.
        buffer = self.buffer.lstrip(b"\r\n") if self.buffer[:2] == b"\r\n" else self.buffer
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if _BARE_LF.search(buffer, 0, end if end >= 0 else MAX_HEAD):
            raise bad_request("A line ends without a carriage return.")
        if end < 0:
            if len(buffer) >= MAX_HEAD:
                raise Refusal(431, "Header too large", f"A request's head has at most {MAX_HEAD} bytes.")
            return None
        head, self.buffer = buffer[: end + 4], buffer[end + 4 :]
        check_head(head)
        return head
