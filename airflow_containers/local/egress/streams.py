"""Byte streams over sockets, in clear text and over TLS, with nothing kept that was not asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Protocol

READ_BYTES = 256 << 10
_RESET = struct.pack("ii", 1, 0)


class Stream(Protocol):
    """Two directions of bytes. Errors of both are :class:`OSError`."""

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """Some bytes, or none at the end."""

    async def write(self, data: bytes) -> None:
        """Send all of ``data``; several at once go one after the other."""

    async def end(self) -> None:
        """Send no more."""


class SocketStream:
    """A connected socket.

    :param family: the set that it is in while it is open.
    """

    def __init__(self, sock: socket.socket, family: set[SocketStream]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._family = family
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self.aborted = False
        family.add(self)

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """Some bytes, or none at the end."""
        return await self._loop.sock_recv(self._sock, limit)

    async def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        async with self._writing:
            await self._loop.sock_sendall(self._sock, data)

    async def end(self) -> None:
        """Send no more; what comes can still be read."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def has_news(self) -> bool:
        """Whether there is something to read, or the end, without waiting."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            pass
        return True

    def abort(self) -> None:
        """End both directions at once; whoever waits in one of them goes on."""
        self.aborted = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self, *, reset: bool = False) -> None:
        """Close it, when nobody waits in it any more.

        :param reset: let the other side see that something is missing.
        """
        if reset:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()
        self._family.discard(self)


class TlsStream:
    """TLS over another stream.

    :param received: bytes that were read from it already.
    """

    def __init__(
        self,
        stream: SocketStream,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        received: bytes = b"",
    ) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._incoming.write(received)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._flushing = asyncio.Lock()
        self._failed: OSError | None = None

    async def handshake(self) -> None:
        """Agree on keys, and check the certificate of a server.

        :raises OSError: when that fails; an :class:`ssl.SSLError` says why.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                # The other side should learn why.
                with contextlib.suppress(OSError):
                    await self._flush()
                raise
            else:
                return await self._flush()

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """Some bytes, or none at the end.

        :raises OSError: also when the other side ended without saying so, as somebody else may have done it.
        """
        if self._failed is not None:
            raise self._failed
        pieces: list[bytes] = []
        size = 0
        while size < limit:
            try:
                piece = self._tls.read(limit - size)
            except ssl.SSLWantReadError:
                if pieces:
                    break
                await self._flush()
                await self._fill()
                continue
            except ssl.SSLZeroReturnError:
                break
            except OSError as error:
                if not pieces:
                    raise
                self._failed = error
                break
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    async def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        await self._flush()

    async def end(self) -> None:
        """Say that no more comes."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            await self._flush()

    async def _flush(self) -> None:
        async with self._flushing:
            while self._outgoing.pending:
                await self._stream.write(self._outgoing.read())

    async def _fill(self) -> None:
        data = await self._stream.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
