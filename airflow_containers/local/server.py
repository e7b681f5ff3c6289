"""Runs the application under uvicorn. Everything that depends on uvicorn's insides is in this module.

Two things are not public interface of uvicorn: a protocol's attribute ``app``, which is wrapped so that the
application gets at the connection, and ``Server.startup``/``capture_signals``, overridden to say when the
server is ready and to leave with status 0. The tests of the local server hold all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import uvicorn

from airflow_containers.local.app import LocalApp, create_app
from airflow_containers.local.contents import TRANSPORT
from airflow_containers.local.options import ServerOptions
from airflow_containers.local.store import StateDirError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open; longer than clients keep theirs, so they close first."""

_GRACE = 3
"""Seconds that requests under way get to end after a signal."""


class ServeError(Exception):
    """The server cannot start; the message names the option at fault, in one line."""


class _ConnectionProtocol(_Protocol):
    """uvicorn's HTTP protocol, which hands its connection to the application."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        app: ASGIApp = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_transport


class _Server(uvicorn.Server):
    """Says when it is ready, and ends without raising the signal again."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url
        self.input_ended = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        # Whoever would read it may be gone already; that is for `watch_input` to find out.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(f"listening on {self._url}\n")
            sys.stdout.flush()

    def watch_input(self) -> None:
        """Leave when standard input ends, without waiting for it here."""
        threading.Thread(target=self._drain_input, daemon=True).start()

    def _drain_input(self) -> None:
        # Not `sys.stdin`: at the interpreter's end, a thread that waits in its buffer is a fatal error.
        with contextlib.suppress(OSError):
            while os.read(0, 65536):
                pass
        self.input_ended = True
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(
    host: str,
    port: int,
    state_dir: str | os.PathLike[str],
    api_key: str | None = None,
    *,
    until_eof: Literal["keep", "discard"] | None = None,
    options: ServerOptions | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Prints ``listening on http://HOST:PORT/v1`` once connections are accepted, and on standard error one
    line that says how commands are isolated, or why none can run.

    :param host: address or name to listen on; one that other machines reach needs ``api_key``.
    :param port: TCP port, 0 for a free one.
    :param state_dir: directory of the state, made when missing.
    :param api_key: the only key that is accepted; ``None`` accepts any.
    :param until_eof: stop at the end of standard input as well, and keep or discard the state then; after a
        signal the state is always kept.
    :param options: how commands run; ``None`` takes the defaults.
    :raises ServeError: when the address, the port or the directory cannot be used.
    """
    with contextlib.closing(_bind(host, port, api_key)) as listener:
        try:
            app = create_app(state_dir, api_key, options=options)
        except StateDirError as error:
            raise ServeError(f"--state-dir {os.fspath(state_dir)}: {error}") from error
        with contextlib.closing(app):
            input_ended = _run(app, listener, watch_input=until_eof is not None)
            if input_ended and until_eof == "discard":
                app.discard()


def _run(app: LocalApp, listener: socket.socket, *, watch_input: bool) -> bool:
    """Serve until the end; tells whether it was the end of standard input."""
    config = uvicorn.Config(
        app,
        http=_ConnectionProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, _url(listener))
    if watch_input:
        server.watch_input()
    asyncio.run(_serve_and_clean(server, app, listener))
    return server.input_ended


async def _serve_and_clean(server: _Server, app: LocalApp, listener: socket.socket) -> None:
    async with app.running():
        await server.serve(sockets=[listener])


def _bind(host: str, port: int, api_key: str | None) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ServeError(f"--host {host}: cannot be resolved ({error})") from error
    if api_key is None and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ServeError(
            f"--host {host}: other machines could reach it, and without a key anybody could use it; "
            "give --api-key as well, or listen on 127.0.0.1"
        )
    listener = socket.socket(family, kind, protocol)
    try:
        # Lets a restart take the port while old connections wait out; a port in use is still refused.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServeError(
                f"--port {port}: already in use; give another one, or 0 for a free one"
            ) from error
        option = f"--port {port}" if error.errno == errno.EACCES else f"--host {host}"
        raise ServeError(f"{option}: cannot listen ({error.strerror or error})") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
