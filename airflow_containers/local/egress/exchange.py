"""Requests of HTTP, passed on one by one: secrets are put in on the way out, taken out on the way back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Any

import h11

from airflow_containers.local.egress.bounds import Bounds
from airflow_containers.local.egress.grants import Grant
from airflow_containers.local.egress.headers import Headers, check_host_header, end_to_end, trailers_of
from airflow_containers.local.egress.heads import MAX_HEAD, RequestReader, bad_request
from airflow_containers.local.egress.log import EgressEntry
from airflow_containers.local.egress.names import HostError, parse_absolute, parse_authority
from airflow_containers.local.egress.redaction import Patterns, Redactor
from airflow_containers.local.egress.refusals import Refusal, shown
from airflow_containers.local.egress.secrets import Filled
from airflow_containers.local.egress.upstream import Upstream, connect, encrypt

MAX_ANSWER_HEAD = 256 << 10
"""Bytes of an answer's head."""

_SLICE = 64 << 10
"""Bytes that are looked through for secrets before other connections have their turn."""


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    path: bytes
    encrypted: bool

    @property
    def authority(self) -> bytes:
        default = 443 if self.encrypted else 80
        return self.host.encode() if self.port == default else f"{self.host}:{self.port}".encode()


class Relay:
    """Passes on the requests of one client, one after the other.

    :param context: for TLS with domains.
    :param fixed: host and port behind the TLS that the requests came in; ``None`` for requests in clear text,
        each of which names its own.
    :ivar has_begun: whether the client has got a part of the answer to the latest request.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        grant: Grant,
        bounds: Bounds,
        reader: RequestReader,
        fixed: tuple[str, int] | None,
    ) -> None:
        self._context = context
        self._grant = grant
        self._bounds = bounds
        self.reader = reader
        self.fixed = fixed
        self.has_begun = False
        self._upstream: Upstream | None = None

    def close(self) -> None:
        """Close the connection that is kept."""
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    async def exchange(self, head: bytes, entry: EgressEntry) -> bool:
        """Pass on the request that begins with ``head``, and its answer.

        :returns: whether another request may follow on the connection.
        :raises Refusal: when it must not be passed on, or that fails.
        :raises OSError: when the client is gone.
        """
        self.has_begun = False
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            server.receive_data(head + self.reader.buffer)
            self.reader.buffer = b""
            request = server.next_event()
        except h11.RemoteProtocolError as error:
            raise Refusal(
                error.error_status_hint, "Bad Request", f"The request is malformed: {error}."
            ) from None
        if not isinstance(request, h11.Request):
            raise bad_request("The request is malformed.")
        target = self._target(request, entry)
        self._grant.check(target.host, target.port, default_port=443 if target.encrypted else 80)
        filled = self._outgoing(request, target)
        addresses = await self._grant.addresses(target.host, target.port)
        entry.allowed = True
        entry.secrets, entry.reason = filled.names, filled.note
        single = _Exchange(self, server, request, target, filled, entry)
        keep = await single.run(await self._connected(target, addresses))
        trailing, _ = server.trailing_data
        self.reader.buffer = trailing
        return keep

    def _target(self, request: h11.Request, entry: EgressEntry) -> _Target:
        text = request.target.decode("ascii")
        if self.fixed is not None:
            host, port = self.fixed
            if not text.startswith("/") and not (text == "*" and request.method == b"OPTIONS"):
                raise bad_request("Inside of TLS, a request has a path, not a whole address.")
            target = _Target(host, port, request.target, encrypted=True)
        else:
            target = self._absolute(text, entry)
        hosts = [value for name, value in request.headers if name == b"host"]
        if hosts or request.http_version == b"1.1":
            check_host_header(hosts, target.host, target.port, 443 if target.encrypted else 80)
        return target

    @staticmethod
    def _absolute(text: str, entry: EgressEntry) -> _Target:
        try:
            scheme, authority, path = parse_absolute(text)
        except HostError:
            raise bad_request(
                "This is a proxy: a request has a whole address, such as http://example.com/."
            ) from None
        entry.host = shown(authority)
        if scheme != "http":
            raise bad_request("The proxy takes http:// addresses, and CONNECT for HTTPS.")
        try:
            host, port = parse_authority(authority, 80)
        except HostError as error:
            status = 403 if error.is_address else 400
            phrase = "IP addresses not allowed" if error.is_address else "Bad Request"
            raise Refusal(status, phrase, f"{shown(authority)} is refused. {error}") from None
        entry.host, entry.port = host, port
        return _Target(host, port, path.encode("ascii"), encrypted=False)

    def _outgoing(self, request: h11.Request, target: _Target) -> Filled:
        """The headers that are sent on."""
        headers = list(request.headers.raw_items())
        upgrades = [value.lower() for name, value in headers if name.lower() == b"upgrade"]
        if any(b"websocket" in value for value in upgrades):
            raise Refusal(
                501,
                "WebSocket not supported",
                "WebSocket connections go through tunnels only: with TLS, to domains without secrets.",
            )
        kept = end_to_end(headers)
        filled = self._grant.secrets.fill(target.host, kept, encrypted=target.encrypted)
        dropped = {b"host"}
        added: Headers = [(b"Host", target.authority)]
        if any(name.lower() == b"transfer-encoding" for name, _ in headers):
            added.append((b"Transfer-Encoding", b"chunked"))
        if self._grant.secrets.has_domain(target.host):
            # What is compressed cannot be looked through.
            dropped.add(b"accept-encoding")
            added.append((b"Accept-Encoding", b"identity"))
        if filled.names:
            # Pieces of an answer would be pieces of a secret in it.
            dropped |= {b"range", b"if-range"}
        passed = [(name, value) for name, value in filled.headers if name.lower() not in dropped]
        return Filled([*added, *passed], filled.names, filled.note)

    async def _connected(self, target: _Target, addresses: tuple[tuple[str, int], ...]) -> Upstream:
        key = (target.host, target.port)
        upstream = self._upstream
        self._upstream = None
        if upstream is not None:
            if upstream.key == key and upstream.is_fresh():
                return upstream
            upstream.close()
        sock = await connect(target.host, addresses, self._grant.streams, self._bounds.connect)
        if not target.encrypted:
            return Upstream(key, sock, sock)
        try:
            tls = await encrypt(target.host, sock, self._context, self._bounds.handshake)
        except BaseException:
            sock.close()
            raise
        return Upstream(key, sock, tls)

    def keep(self, upstream: Upstream) -> None:
        """Keep a connection for the next request."""
        self._upstream = upstream

    @property
    def idle(self) -> float:
        """Seconds without a byte after which an exchange is over."""
        return self._bounds.idle

    def patterns_for(self, host: str) -> Patterns | None:
        """What to take out of the answers of a domain; ``None`` for those that get no secrets."""
        return self._grant.patterns() if self._grant.secrets.has_domain(host) else None


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        relay: Relay,
        server: h11.Connection,
        request: h11.Request,
        target: _Target,
        filled: Filled,
        entry: EgressEntry,
    ) -> None:
        self._relay = relay
        self._server = server
        self._client = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER_HEAD)
        self._request = request
        self._target = target
        self._filled = filled
        self._entry = entry
        self._is_whole = False
        patterns = relay.patterns_for(target.host)
        self._patterns = patterns
        self._redactor = Redactor(patterns) if patterns else None

    async def run(self, upstream: Upstream) -> bool:
        sending: asyncio.Task[None] | None = None
        keep = False
        try:
            try:
                head = _data(
                    self._client,
                    h11.Request(
                        method=self._request.method,
                        target=self._target.path,
                        headers=self._filled.headers,
                    ),
                )
            except h11.LocalProtocolError:
                # Its message would show a header.
                raise bad_request("The request has a header that cannot be passed on.") from None
            with contextlib.suppress(OSError):
                # A server that has ended may have said why.
                await self._send(upstream, head)
            sending = asyncio.create_task(self._send_body(upstream))
            # A request without body is whole before the answer is looked at.
            await asyncio.sleep(0)
            keep = await self._answer(upstream, sending)
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            if keep and self._is_reusable():
                self._relay.keep(upstream)
            else:
                upstream.close()
        return keep

    def _is_reusable(self) -> bool:
        done = self._client.our_state is h11.DONE and self._client.their_state is h11.DONE
        return done and not self._client.trailing_data[0]

    async def _send(self, upstream: Upstream, data: bytes) -> None:
        async with asyncio.timeout(self._relay.idle):
            await upstream.stream.write(data)
        self._entry.bytes_sent += len(data)

    async def _send_body(self, upstream: Upstream) -> None:
        """Pass on the request's body, as far as the server takes it.

        :raises OSError: when the client is gone, or silent.
        """
        while True:
            event = self._next_of_client()
            if event is h11.NEED_DATA:
                self._server.receive_data(await self._more_of_client())
            elif isinstance(event, h11.Data):
                if not await self._passed_to_server(upstream, event):
                    return
            elif isinstance(event, h11.EndOfMessage):
                end = h11.EndOfMessage(headers=trailers_of(event))
                self._is_whole = await self._passed_to_server(upstream, end)
                return
            else:
                raise ConnectionResetError

    async def _more_of_client(self) -> bytes:
        stream = self._relay.reader.stream
        if self._server.they_are_waiting_for_100_continue:
            await stream.write(_data(self._server, _CONTINUE))
        async with asyncio.timeout(self._relay.idle):
            data = await stream.read()
        if not data:
            raise ConnectionResetError
        return data

    async def _passed_to_server(self, upstream: Upstream, event: Any) -> bool:
        data = _data(self._client, event)
        if data:
            try:
                await self._send(upstream, data)
            except OSError:
                # The answer may be there already, and says more.
                return False
        return True

    def _next_of_client(self) -> Any:
        try:
            return self._server.next_event()
        except h11.RemoteProtocolError:
            # In the middle of a body, there is nothing to answer any more.
            raise ConnectionResetError from None

    async def _answer(self, upstream: Upstream, sending: asyncio.Task[None]) -> bool:
        while True:
            event = await self._next_of_server(upstream, sending)
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    raise _broken(self._target, "it changes the protocol, which was not asked for")
                continue
            if isinstance(event, h11.Response):
                await self._begin(event, sending)
            elif isinstance(event, h11.Data):
                await self._pass_on_body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                if self._redactor:
                    await self._pass_on(self._redactor.finish())
                trailers = trailers_of(event) if self._request.http_version == b"1.1" else []
                await self._to_client(h11.EndOfMessage(headers=self._redacted(trailers)))
                return self._server.our_state is h11.DONE and self._is_whole
            else:
                raise _broken(self._target, "it has ended the connection without an answer")

    async def _next_of_server(self, upstream: Upstream, sending: asyncio.Task[None]) -> Any:
        while True:
            try:
                event = self._client.next_event()
                if event is not h11.NEED_DATA:
                    return event
                if sending.done():
                    _raise_of(sending)
                    data = await self._read_in_time(upstream)
                else:
                    data = await self._receive(upstream, sending)
                self._entry.bytes_received += len(data)
                self._client.receive_data(data)
            except h11.RemoteProtocolError:
                raise _broken(self._target, "its answer is malformed or incomplete") from None

    async def _receive(self, upstream: Upstream, sending: asyncio.Task[None]) -> bytes:
        """What comes from the server next; with the client gone, nobody waits for it."""
        reading = asyncio.ensure_future(self._read(upstream))
        try:
            # As long as the request goes on, the answer may take its time.
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                _raise_of(sending)
                async with asyncio.timeout(self._relay.idle):
                    return await reading
            return reading.result()
        except TimeoutError:
            raise _silent(self._target, self._relay.idle) from None
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read_in_time(self, upstream: Upstream) -> bytes:
        try:
            async with asyncio.timeout(self._relay.idle):
                return await self._read(upstream)
        except TimeoutError:
            raise _silent(self._target, self._relay.idle) from None

    async def _read(self, upstream: Upstream) -> bytes:
        try:
            return await upstream.stream.read()
        except ssl.SSLError:
            raise _broken(self._target, "it has ended the connection without saying so in TLS") from None
        except OSError:
            raise _broken(self._target, "it has ended the connection") from None

    async def _begin(self, response: h11.Response, sending: asyncio.Task[None]) -> None:
        status = response.status_code
        has_body = self._request.method != b"HEAD" and status not in {204, 304}
        headers = list(response.headers.raw_items())
        if self._patterns is not None and has_body:
            codings = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
            if codings.strip(b" \t,").lower() not in {b"", b"identity"}:
                raise Refusal(
                    502,
                    "Answer is compressed",
                    f"{self._target.host} has sent a compressed answer although none was asked for. The "
                    "proxy takes secrets out of the answers of their domains, which it cannot do in this.",
                )
        chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
        kept = end_to_end(headers)
        if chunked:
            kept = [(name, value) for name, value in kept if name.lower() != b"content-length"]
        kept = self._redacted(kept)
        if not sending.done():
            kept.append((b"Connection", b"close"))
        reason = bytes(response.reason)
        if self._patterns:
            reason = self._patterns.clean(reason)
        self._entry.status = status
        try:
            data = _data(self._server, h11.Response(status_code=status, headers=kept, reason=reason))
        except h11.LocalProtocolError:
            raise _broken(self._target, "its answer has a malformed header") from None
        self._relay.has_begun = True
        await self._write(data)

    def _redacted(self, headers: Headers) -> Headers:
        patterns = self._patterns
        if not patterns:
            return headers
        return [
            (name, value)
            if name.lower() == b"content-length"
            else (patterns.clean(name), patterns.clean(value))
            for name, value in headers
        ]

    async def _pass_on_body(self, data: bytes) -> None:
        if self._redactor is None:
            await self._pass_on(data)
            return
        for at in range(0, len(data), _SLICE):
            await self._pass_on(self._redactor.feed(data[at : at + _SLICE]))
            # Looking takes its time where much may be a secret, and others wait.
            await asyncio.sleep(0)

    async def _pass_on(self, data: bytes) -> None:
        if data:
            await self._to_client(h11.Data(data=data))

    async def _to_client(self, event: Any) -> None:
        await self._write(_data(self._server, event))

    async def _write(self, data: bytes) -> None:
        if data:
            try:
                async with asyncio.timeout(self._relay.idle):
                    await self._relay.reader.stream.write(data)
            except TimeoutError:
                raise ConnectionResetError from None


_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")


def _data(connection: h11.Connection, event: Any) -> bytes:
    return connection.send(event) or b""


def _raise_of(sending: asyncio.Task[None]) -> None:
    """Raise what has ended the request, if the client is gone."""
    error = sending.exception()
    if error is not None:
        raise error


def _silent(target: _Target, seconds: float) -> Refusal:
    return Refusal(504, "Gateway Timeout", f"{target.host} sent nothing for {seconds:g} s.")


def _broken(target: _Target, what: str) -> Refusal:
    return Refusal(502, "Bad answer", f"{target.host} did not answer as HTTP has it: {what}.")
