"""One connection of a container to its proxy, from its first request to its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from airflow_containers.local.egress.authority import Authority
from airflow_containers.local.egress.bounds import Bounds
from airflow_containers.local.egress.client_hello import HelloError, parse_client_hello
from airflow_containers.local.egress.exchange import Relay
from airflow_containers.local.egress.grants import Grant
from airflow_containers.local.egress.headers import check_host_header
from airflow_containers.local.egress.heads import RequestReader, bad_request
from airflow_containers.local.egress.log import EgressEntry, EgressLog
from airflow_containers.local.egress.names import HostError, parse_authority, parse_host
from airflow_containers.local.egress.refusals import Refusal, linger, refuse, shown
from airflow_containers.local.egress.streams import SocketStream, Stream, TlsStream
from airflow_containers.local.egress.upstream import connect, tls_reason

_UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
"""The alert of TLS for a server name that is not served."""

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all connections of one server share.

    :param now: the server's clock, for the log.
    """

    authority: Authority
    log: EgressLog
    now: Callable[[], float]
    bounds: Bounds


async def serve_connection(setting: Setting, grant: Grant, sock: socket.socket) -> None:
    """Serve what comes over a connection, and close it. Never raises but when it is cancelled."""
    if grant.ended:
        sock.close()
        return
    stream = SocketStream(sock, grant.streams)
    grant.connections += 1
    connection = _Connection(setting, grant, stream)
    try:
        await connection.run()
        if not connection.is_broken:
            await linger(stream)
    except OSError:
        # Whoever was cut off knows it.
        pass
    except Exception as error:  # noqa: BLE001 - the last resort: the others go on
        # The message of an exception may have a header in it, so only its type and place are shown.
        frames = "".join(traceback.format_tb(error.__traceback__))
        sys.stderr.write(f"{type(error).__name__} in the egress proxy\n{frames}\n")
    finally:
        grant.connections -= 1
        stream.close(reset=connection.is_broken)


class _Connection:
    """:ivar is_broken: whether the client has got a part of an answer, and the rest will not come."""

    def __init__(self, setting: Setting, grant: Grant, stream: SocketStream) -> None:
        self._setting = setting
        self._bounds = setting.bounds
        self._grant = grant
        self._stream = stream
        self.is_broken = False

    async def run(self) -> None:
        reader = RequestReader(self._stream)
        if self._grant.connections > self._bounds.connections:
            reason = f"The container has more than {self._bounds.connections} connections."
            await self._refuse(self._stream, Refusal(503, "Too many connections", reason))
            return
        relay = Relay(self._setting.authority.upstream, self._grant, self._bounds, reader, None)
        try:
            while (head := await self._next_head(reader)) is not None:
                if head.startswith(b"CONNECT "):
                    await self._connect(head, reader)
                    return
                if not await self._exchange(relay, head):
                    return
        finally:
            relay.close()

    async def _next_head(self, reader: RequestReader) -> bytes | None:
        try:
            return await reader.head(self._bounds.head, self._bounds.keep_alive)
        except Refusal as refusal:
            await self._refuse(reader.stream, refusal)
            return None

    async def _exchange(self, relay: Relay, head: bytes) -> bool:
        """Pass on one request; returns whether another may follow."""
        entry = self._entry(head.partition(b" ")[0].decode("ascii"), *(relay.fixed or ("", None)))
        try:
            return await relay.exchange(head, entry)
        except Refusal as refusal:
            if relay.has_begun:
                self.is_broken = True
                entry.reason = refusal.reason
                return False
            await self._refuse(relay.reader.stream, refusal, entry, with_body=entry.method != "HEAD")
            return False
        except (OSError, asyncio.CancelledError) as error:
            self.is_broken = relay.has_begun
            if entry.reason is None:
                ended = self._grant.ended or isinstance(error, asyncio.CancelledError)
                entry.reason = "ended with the command" if ended else "the client has ended the connection"
            raise

    def _entry(self, method: str, host: str, port: int | None) -> EgressEntry:
        return self._setting.log.add(
            self._setting.now(), self._grant.container_id, method, host, port, allowed=False
        )

    async def _refuse(
        self,
        stream: Stream,
        refusal: Refusal,
        entry: EgressEntry | None = None,
        *,
        with_body: bool = True,
        answer: bytes | None = None,
    ) -> None:
        if entry is None:
            entry = self._entry("", "", None)
        entry.reason = refusal.reason
        entry.status = refusal.status
        await refuse(stream, refusal, with_body=with_body, answer=answer)

    async def _connect(self, head: bytes, reader: RequestReader) -> None:
        entry = self._entry("CONNECT", "", None)
        stream = self._stream
        try:
            host, port = self._goal(head, entry)
            self._grant.check(host, port, default_port=443)
            addresses = await self._grant.addresses(host, port)
            entry.allowed = True
            if self._grant.secrets.has_domain(host):
                await stream.write(_ESTABLISHED)
                await self._terminate(host, port, reader, entry)
                return
            upstream = await connect(host, addresses, self._grant.streams, self._bounds.connect)
        except Refusal as refusal:
            await self._refuse(stream, refusal, entry)
            return
        try:
            await stream.write(_ESTABLISHED)
            hello = await self._hello(host, reader, entry)
            if hello is not None:
                entry.status = 200
                await self._tunnel(upstream, hello, entry)
        except asyncio.CancelledError:
            entry.reason = entry.reason or "ended with the command"
            raise
        finally:
            upstream.close()

    def _goal(self, head: bytes, entry: EgressEntry) -> tuple[str, int]:
        """The host and port of ``CONNECT``, which its headers must not contradict."""
        line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        authority = line.split(" ")[1]
        entry.host = shown(authority)
        try:
            host, port = parse_authority(authority)
        except HostError as error:
            status = 403 if error.is_address else 400
            phrase = "IP addresses not allowed" if error.is_address else "Bad Request"
            raise Refusal(status, phrase, f"CONNECT to {shown(authority)} is refused. {error}") from None
        entry.host, entry.port = host, port
        for field in fields:
            name, _, value = field.partition(":")
            name = name.lower()
            if name in {"content-length", "transfer-encoding"}:
                raise bad_request("A CONNECT request has no body.")
            if name == "host":
                check_host_header([value.strip(" \t").encode("latin-1")], host, port, port)
        return host, port

    async def _hello(self, host: str, reader: RequestReader, entry: EgressEntry) -> bytes | None:
        """The first message of TLS for ``host``, or ``None`` when it was anything else and is refused."""
        try:
            async with asyncio.timeout(self._bounds.head):
                while (hello := parse_client_hello(reader.buffer)) is None:
                    data = await reader.stream.read()
                    if not data:
                        entry.reason = "the client has ended the connection before TLS began"
                        return None
                    reader.buffer += data
            found = hello.server_name
            name = None if found is None else parse_host(found)
        except TimeoutError:
            entry.allowed = False
            entry.reason = f"Only TLS may go through CONNECT, and none began within {self._bounds.head:g} s."
            return None
        except HelloError as error:
            entry.allowed = False
            reason = f"Only TLS may go through CONNECT to {host}, but of what was sent: {error}."
            await self._refuse(reader.stream, Refusal(403, "Not TLS", reason), entry)
            return None
        except HostError:
            name = ""
        if name == host:
            received, reader.buffer = reader.buffer, b""
            return received
        entry.allowed = False
        asked = "no server name (SNI)" if name is None else "another server name (SNI)"
        reason = f"TLS inside CONNECT to {host} has {asked}, and both must be the same."
        await self._refuse(
            reader.stream, Refusal(403, "Server name differs", reason), entry, answer=_UNRECOGNIZED_NAME
        )
        return None

    async def _terminate(self, host: str, port: int, reader: RequestReader, entry: EgressEntry) -> None:
        """Be the server for the client, as its requests get secrets."""
        hello = await self._hello(host, reader, entry)
        if hello is None:
            return
        # What comes of it has entries of its own.
        entry.status = 200
        context = self._setting.authority.context(host)
        tls = TlsStream(self._stream, context, server_side=True, received=hello)
        try:
            async with asyncio.timeout(self._bounds.handshake):
                await tls.handshake()
        except OSError as error:
            entry.reason = (
                "The client did not agree on TLS with the proxy, which is the server for domains with "
                f"secrets ({tls_reason(error)}). It has to trust the certificates in $SSL_CERT_FILE."
            )
            return
        inner = RequestReader(tls)
        relay = Relay(self._setting.authority.upstream, self._grant, self._bounds, inner, (host, port))
        try:
            while (head := await self._next_head(inner)) is not None:
                if not await self._exchange(relay, head):
                    break
            if not self.is_broken:
                await tls.end()
        finally:
            relay.close()

    async def _tunnel(self, upstream: SocketStream, hello: bytes, entry: EgressEntry) -> None:
        loop = asyncio.get_running_loop()
        idle = self._bounds.tunnel_idle
        await upstream.write(hello)
        entry.bytes_sent += len(hello)

        async def carry(source: SocketStream, goal: SocketStream, counter: str) -> None:
            while data := await source.read():
                timeout.reschedule(loop.time() + idle)
                await goal.write(data)
                setattr(entry, counter, getattr(entry, counter) + len(data))
            await goal.end()

        try:
            async with asyncio.timeout(idle) as timeout:
                tasks = [
                    loop.create_task(carry(self._stream, upstream, "bytes_sent")),
                    loop.create_task(carry(upstream, self._stream, "bytes_received")),
                ]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                finally:
                    for task in tasks:
                        task.cancel()
                    results = await asyncio.gather(*tasks, return_exceptions=True)
        except TimeoutError:
            entry.reason = f"ended after {idle:g} s without a byte"
            return
        if self._grant.ended:
            entry.reason = "ended with the command"
        elif any(isinstance(result, OSError) for result in results):
            self.is_broken = True
            with contextlib.suppress(OSError):
                upstream.abort()
