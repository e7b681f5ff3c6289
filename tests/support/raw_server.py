"""A server made of a socket and a list of answers, for what no web framework would do on purpose.

Each connection carries one request. The first request gets the first answer, and so on; the last answer is
given to all that follow::

    with RawServer(reset, reply(200, {"id": "cntr_1"})) as server:
        ...
    assert ["GET", "GET"] == [request.method for request in server.requests]
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

LONGEST = 30.0
"""Seconds that a connection of a test can last at most, whatever goes wrong."""


@dataclass(frozen=True)
class RawRequest:
    """One request, as far as it was read."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Exchange:
    """A connection whose request was read and whose answer is due."""

    connection: socket.socket
    request: RawRequest
    stopping: threading.Event = field(repr=False)

    def send(self, data: bytes) -> None:
        """Send some bytes."""
        self.connection.sendall(data)

    def pause(self, seconds: float) -> bool:
        """Wait; returns whether the test is over, so that nobody need wait longer."""
        return self.stopping.wait(seconds)


Answer = Callable[[Exchange], None]


def head(status: int, headers: dict[str, str] | None = None) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode()


def reply(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Answer:
    """A complete answer; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    whole = {"content-length": str(len(content)), "content-type": "application/json", **(headers or {})}

    def answer(exchange: Exchange) -> None:
        exchange.send(head(status, whole) + content)

    return answer


def reset(exchange: Exchange) -> None:
    """Break the connection without an answer."""
    abort(exchange.connection)


def hang_up(exchange: Exchange) -> None:
    """Close the connection in good order, without an answer."""


def silence(exchange: Exchange) -> None:
    """Read the request and never answer."""
    exchange.pause(LONGEST)


def garbage(exchange: Exchange) -> None:
    """Answer with something that is no HTTP, and quotes the request."""
    exchange.send(b"SSH-2.0-" + exchange.request.raw.replace(b"\r\n", b" ") + b"\r\n\r\n")


def truncated(body: Any) -> Answer:
    """Announce a body, and end the connection in the middle of it."""
    content = json.dumps(body).encode()

    def answer(exchange: Exchange) -> None:
        exchange.send(head(200, {"content-length": str(len(content))}) + content[: len(content) // 2])

    return answer


def reset_in_the_body(exchange: Exchange) -> None:
    """Announce a body, send a part of it, and break the connection."""
    exchange.send(head(200, {"content-length": "1000"}) + b'{"id": "cntr_1", ')
    abort(exchange.connection)


def drip(body: Any, *, every: float, chunked: bool = False) -> Answer:
    """Send the head at once and the body byte by byte: no single read takes long, all of them do."""
    content = json.dumps(body).encode()

    def answer(exchange: Exchange) -> None:
        framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(content))}
        exchange.send(head(200, framing))
        for byte in content:
            exchange.send(b"1\r\n%c\r\n" % byte if chunked else bytes([byte]))
            if exchange.pause(every):
                return
        exchange.send(b"0\r\n\r\n" if chunked else b"")

    return answer


def endless(exchange: Exchange) -> None:
    """Send a body without end."""
    exchange.send(head(200))
    block = b'{"padding": "' + b"x" * 65_536
    while not exchange.stopping.is_set():
        exchange.send(block)


def abort(connection: socket.socket) -> None:
    """Close a connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class RawServer:
    """Listens on a free port of 127.0.0.1 while the ``with`` block runs.

    :param answers: what each request gets.
    :param tls: makes it an HTTPS server.
    :param before: called with each new connection before anything is read; one that it closes is not served.
    """

    def __init__(
        self,
        *answers: Answer,
        tls: ssl.SSLContext | None = None,
        before: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self.answers = answers
        self.requests: list[RawRequest] = []
        self.connections = 0
        self._tls = tls
        self._before = before
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        # Wakes the thread that waits for connections.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LONGEST)
        self._socket.close()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stopping.is_set():
                connection, _ = self._socket.accept()
                self.connections += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(LONGEST)
        # Clients that give up, refuse a certificate or are reset are what the tests are about.
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if self._before is not None:
                self._before(connection)
            with self._secured(connection) as stream:
                request = _read(stream)
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                    answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
                answer(Exchange(stream, request, self._stopping))

    @contextlib.contextmanager
    def _secured(self, connection: socket.socket) -> Iterator[socket.socket]:
        if self._tls is None:
            yield connection
            return
        with self._tls.wrap_socket(connection, server_side=True) as stream:
            yield stream


def _read(connection: socket.socket) -> RawRequest | None:
    """One request; ``None`` if the client left before it was complete."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65_536)
        if not received:
            return None
        data += received
    start, _, body = data.partition(b"\r\n\r\n")
    line, *fields = start.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ", 2)
    pairs = (entry.partition(":") for entry in fields)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    while len(body) < int(headers.get("content-length", 0)):
        received = connection.recv(65_536)
        if not received:
            return None
        body += received
    return RawRequest(method, target, headers, body, start + b"\r\n\r\n" + body)
