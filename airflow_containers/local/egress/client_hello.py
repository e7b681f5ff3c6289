"""Reads the first message of TLS, as far as the name of the server that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BYTES = 64 << 10
"""Bytes of a first message with all that is in it; usual ones have two thousand at most."""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_MAX_RECORD = 16384


class HelloError(ValueError):
    """What came is not the first message of TLS; the message says why not."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The first message of a client.

    :param server_name: as the client sent it; ``None`` when it sent none.
    """

    server_name: str | None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def is_done(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise HelloError("it is malformed")
        found = self._data[self._at : end]
        self._at = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Read the records that a client begins with.

    :returns: ``None`` when more is to come.
    :raises HelloError: when it is anything else than one whole message of that kind.
    """
    message = bytearray()
    at = 0
    while at < len(data):
        _check_header(data[at : at + 5])
        if not message and len(data) > at + 5 and data[at + 5] != _CLIENT_HELLO:
            raise HelloError("it does not begin with a ClientHello")
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        if len(data) < max(end, at + 5):
            break
        message += data[at + 5 : end]
        at = end
        if _is_whole(message):
            return ClientHello(_server_name(bytes(message[4:])))
    if len(data) > 2 * MAX_BYTES:
        raise HelloError("it is too long")
    return None


def _check_header(header: bytes) -> None:
    """Check as much of a record's header as there is."""
    if header[0] != _HANDSHAKE or (len(header) > 1 and header[1] != 3):
        raise HelloError("it is not TLS")
    if len(header) == 5 and not 0 < int.from_bytes(header[3:], "big") <= _MAX_RECORD:
        raise HelloError("it is malformed")


def _is_whole(message: bytes | bytearray) -> bool:
    if len(message) < 4:
        return False
    length = 4 + int.from_bytes(message[1:4], "big")
    if length > MAX_BYTES:
        raise HelloError("it is too long")
    if len(message) > length:
        raise HelloError("it has more than a ClientHello in its first record")
    return len(message) == length


def _server_name(body: bytes) -> str | None:
    reader = _Reader(body)
    reader.take(2 + 32)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    if reader.is_done():
        return None
    extensions = _Reader(reader.vector(2))
    if not reader.is_done():
        raise HelloError("it is malformed")
    found: str | None = None
    seen: set[int] = set()
    while not extensions.is_done():
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise HelloError("it has an extension twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            found = _name(content)
    return found


def _name(content: bytes) -> str:
    outer = _Reader(content)
    names = _Reader(outer.vector(2))
    kind, name = names.number(1), names.vector(2)
    if not outer.is_done() or not names.is_done() or kind != 0:
        raise HelloError("it does not name exactly one server")
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise HelloError("it names a server outside ASCII") from None
