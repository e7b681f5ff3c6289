"""An Internet on the loopback interface: domains with certificates, and containers behind a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trustme

from airflow_containers.local.egress.bounds import Bounds
from airflow_containers.local.egress.gateway import (
    DomainSecret,
    EgressEntry,
    EgressGateway,
    SecretText,
    Serving,
)
from airflow_containers.local.egress.options import EgressOptions

CONTAINER = "cntr_" + "0" * 48

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Domain:
    """One server, as a domain of the Internet.

    :ivar requests: heads and bodies that came, each as sent.
    """

    host: str
    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def heads(self) -> list[str]:
        """The heads of the requests."""
        return [request.partition(b"\r\n\r\n")[0].decode("latin-1") for request in self.requests]

    def header(self, name: str, index: int = -1) -> str | None:
        """A header of a request."""
        for line in self.heads[index].split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.lower() == name.lower():
                return value.strip()
        return None


class World:
    """A gateway and the domains behind it."""

    def __init__(self, folder: Path, bounds: Bounds | None = None, **options: object) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        ca_file = folder / "internet.pem"
        self.ca.cert_pem.write_to_path(ca_file)
        self.connect_to: dict[tuple[str, int], tuple[str, int]] = {}
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self.options = EgressOptions(connect_to=self.connect_to, upstream_ca=ca_file, **options)  # type: ignore[arg-type]
        self.gateway = EgressGateway(
            folder / "egress", self.options, lambda: 1_700_000_000.0, resolve=self._resolve, bounds=bounds
        )
        self._servers: list[asyncio.Server] = []
        self._servings: list[Serving] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def _resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def domain(
        self,
        host: str,
        handler: Handler | None = None,
        *,
        tls: bool = True,
        port: int | None = None,
        certificate_of: str | None = None,
        ca: trustme.CA | None = None,
        answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ) -> Domain:
        """Start a server for a domain; without handler, it answers ``answer`` to each request."""
        context: ssl.SSLContext | None = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            (ca or self.ca).issue_cert(certificate_of or host).configure_cert(context)
        found = Domain(host, 0)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.connections += 1
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                if handler is not None:
                    await handler(reader, writer)
                else:
                    while (request := await read_request(reader)) is not None:
                        found.requests.append(request)
                        writer.write(answer)
                        await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                self._tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        self._servers.append(server)
        found.port = server.sockets[0].getsockname()[1]
        self.connect_to[host, port or (443 if tls else 80)] = ("127.0.0.1", found.port)
        return found

    def container(
        self,
        domains: Sequence[str],
        secrets: Sequence[tuple[str, str, str | None]] = (),
        name: str = CONTAINER,
    ) -> Container:
        """Let a container out, and serve it."""
        self.gateway.grant(
            name,
            domains,
            [
                DomainSecret(domain, key, None if value is None else SecretText(value))
                for domain, key, value in secrets
            ],
        )
        return self.serve(name)

    def serve(self, name: str = CONTAINER) -> Container:
        """Serve a container."""
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        serving = self.gateway.serve(name, listener)
        self._servings.append(serving)
        return Container(self, name, port, serving)

    async def close(self) -> None:
        """End everything."""
        await self.gateway.close()
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Container:
    """What a container sees of the way out."""

    def __init__(self, world: World, name: str, port: int, serving: Serving) -> None:
        self.world = world
        self.name = name
        self.port = port
        self.serving = serving

    @property
    def environment(self) -> dict[str, str]:
        """Its variables."""
        return self.world.gateway.environment(self.name)

    def placeholder(self, name: str) -> str:
        """What a variable has."""
        return self.environment[name]

    @property
    def entries(self) -> list[EgressEntry]:
        """Its part of the log."""
        return self.world.gateway.log.entries(self.name)

    @property
    def entry(self) -> EgressEntry:
        """Its latest entry."""
        return self.entries[-1]

    def context(self) -> ssl.SSLContext:
        """TLS as a client has it that trusts the bundle, and nothing else."""
        (bundle,) = self.world.gateway.read_only_files().values()
        return ssl.create_default_context(cafile=str(bundle))

    def client(self, **options: object) -> httpx.AsyncClient:
        """A client that has its settings."""
        return httpx.AsyncClient(
            proxy=f"http://127.0.0.1:{self.port}",
            verify=self.context(),
            trust_env=False,
            timeout=20,
            **options,
        )  # type: ignore[arg-type]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the proxy."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)

    async def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes to the proxy; returns all that comes back until it closes."""
        reader, writer = await self.open()
        writer.write(data)
        with contextlib.suppress(OSError):
            await writer.drain()
            if end:
                writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionResetError:
            return b"<reset>"
        finally:
            writer.close()

    async def tls(
        self, host: str, *, port: int = 443, server_name: str | None = "", alpn: Sequence[str] = ()
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a domain: CONNECT, and TLS inside of it.

        :param server_name: another than the host's, or ``None`` for none at all.
        """
        reader, writer = await self.open()
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError((head + await reader.read()).decode())
        context = self.context()
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if server_name is None:
            context.check_hostname = False
        name = host if server_name == "" else server_name
        await writer.start_tls(context, server_hostname=name)
        return reader, writer

    async def inside(self, host: str, data: bytes) -> bytes:
        """Send bytes inside TLS; returns all that comes back until the other side closes."""
        reader, writer = await self.tls(host)
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionResetError:
            return b"<reset>"
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    """A whole request, or ``None`` at the end. Its body is decoded when it came in chunks."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return head + await read_chunks(reader)
    if b"content-length:" in lowered:
        length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)
    return head


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body, with its trailers behind an empty line."""
    body = b""
    while size := int((await reader.readline()).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    trailers = b""
    while (line := await reader.readline()) not in {b"\r\n", b""}:
        trailers += line
    return body + (b"\r\n\r\n" + trailers if trailers else b"")


@contextlib.asynccontextmanager
async def world_in(folder: Path, bounds: Bounds | None = None, **options: object) -> AsyncIterator[World]:
    """A world that ends with the context."""
    world = World(folder, bounds, **options)
    try:
        yield world
    finally:
        await world.close()
