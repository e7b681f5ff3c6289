"""The way out of all containers of one server: who may go where, and the proxies that see to it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_containers.local.egress.bounds import Bounds
from airflow_containers.local.egress.grants import Grant
from airflow_containers.local.egress.log import EgressEntry, EgressLog
from airflow_containers.local.egress.options import EgressOptions
from airflow_containers.local.egress.resolving import Resolve, Resolver
from airflow_containers.local.egress.secrets import DomainSecret, SecretText
from airflow_containers.local.egress.variables import proxy_variables
from airflow_containers.local.sandbox.commands import PROXY_PORT

if TYPE_CHECKING:
    from airflow_containers.local.egress.authority import Authority
    from airflow_containers.local.egress.connection import Setting

__all__ = [
    "CA_BUNDLE",
    "PROXY_PORT",
    "DomainSecret",
    "EgressEntry",
    "EgressGateway",
    "EgressLog",
    "SecretText",
    "Serving",
]

CA_BUNDLE = "/run/egress/ca-bundle.pem"
"""Where a container has the certificates that it should trust."""

_TOLD = 16
"""Connections over the bound that still get an answer that says so."""


class Serving:
    """One proxy at work, for one command; made by :meth:`EgressGateway.serve`."""

    def __init__(self, gateway: EgressGateway, grant: Grant, listener: socket.socket) -> None:
        self._gateway = gateway
        self._grant = grant
        self._listener = listener
        self._connections: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """End the proxy and all its connections; more than once is fine."""
        self.stop()
        await asyncio.gather(self._task, *self._connections, return_exceptions=True)

    def stop(self) -> None:
        """Take no more connections and end those there are, as soon as the event loop comes to it."""
        self._task.cancel()
        for connection in self._connections:
            connection.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    client, _ = await loop.sock_accept(self._listener)
                except ConnectionError:
                    continue
                except OSError:
                    # Too many open files, maybe: others may close some.
                    if self._listener.fileno() < 0:
                        return
                    await asyncio.sleep(0.05)
                    continue
                if max(len(self._connections), self._grant.connections) >= self._gateway.most_connections:
                    # Those that get an answer to it are enough: each takes a descriptor of the server.
                    client.close()
                    await asyncio.sleep(0)
                    continue
                task = loop.create_task(self._serve(client))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
        finally:
            self._listener.close()
            self._gateway.forget(self)

    async def _serve(self, client: socket.socket) -> None:
        from airflow_containers.local.egress.connection import serve_connection

        await serve_connection(self._gateway.setting(), self._grant, client)


class EgressGateway:
    """The way out of all containers of one server.

    Certificates and keys are made when they are first needed, and keys stay in memory.

    :param folder: for files that containers may see: the certificates they should trust. Removed by
        :meth:`close`.
    :param now: the server's clock, for the log.
    :param resolve: finds the addresses of a host name; ``None`` for the system's resolver.
    :param bounds: of single connections.
    :ivar log: what containers asked for.
    """

    def __init__(
        self,
        folder: Path,
        options: EgressOptions,
        now: Callable[[], float],
        *,
        resolve: Resolve | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._folder = folder
        self._bounds = bounds or Bounds()
        self._options = options
        self._resolver = Resolver(options, resolve)
        self._authority: Authority | None = None
        self._grants: dict[str, Grant] = {}
        self._servings: dict[Serving, str] = {}
        self._now = now
        self.log = EgressLog()

    @property
    def most_connections(self) -> int:
        """How many a container can have at once, with those that are told that they are too many."""
        return self._bounds.connections + _TOLD

    @property
    def authority(self) -> Authority:
        """Issues the certificates of domains that have secrets; made when first asked for."""
        if self._authority is None:
            from airflow_containers.local.egress.authority import Authority

            self._authority = Authority(self._folder, self._options.upstream_ca)
        return self._authority

    @property
    def problem(self) -> str | None:
        """Why containers cannot be let out at all, and what to install; ``None`` when they can."""
        missing = [name for name in ("h11", "trustme") if importlib.util.find_spec(name) is None]
        if not missing:
            return None
        return f"the egress proxy needs {' and '.join(missing)}: pip install 'airflow-containers[sandbox]'"

    def setting(self) -> Setting:
        """What all connections share."""
        from airflow_containers.local.egress.connection import Setting

        return Setting(self.authority, self.log, self._now, self._bounds)

    def grant(
        self, container_id: str, allowed_domains: Sequence[str], secrets: Sequence[DomainSecret]
    ) -> None:
        """Let a container out to its domains; a second grant takes the place of the first.

        :param secrets: for domains in ``allowed_domains``.
        """
        self.revoke(container_id)
        self._grants[container_id] = Grant(container_id, allowed_domains, secrets, self._resolver)

    def revoke(self, container_id: str) -> None:
        """Let a container out no longer: end its connections and forget the values of its secrets."""
        grant = self._grants.pop(container_id, None)
        if grant is None:
            return
        grant.end()
        for serving in [serving for serving, owner in self._servings.items() if owner == container_id]:
            serving.stop()

    def environment(self, container_id: str) -> dict[str, str]:
        """Variables for commands: the proxy, the certificates, and placeholders for secrets.

        :raises KeyError: when nothing was granted to the container.
        """
        return {
            **self._grants[container_id].secrets.placeholders,
            **proxy_variables(f"http://127.0.0.1:{PROXY_PORT}", CA_BUNDLE),
        }

    def read_only_files(self) -> dict[str, Path]:
        """Files that a container needs beside its variables: path inside, and the file outside."""
        return {CA_BUNDLE: self.authority.bundle}

    def serve(self, container_id: str, listener: socket.socket) -> Serving:
        """Begin to serve a container on a socket that listens in its network namespace.

        Call it in the event loop of the server. The socket belongs to what is returned.

        :raises KeyError: when nothing was granted to the container; the socket is closed then.
        """
        grant = self._grants.get(container_id)
        if grant is None:
            listener.close()
            raise KeyError(container_id)
        serving = Serving(self, grant, listener)
        self._servings[serving] = container_id
        return serving

    def forget(self, serving: Serving) -> None:
        """Take note that a proxy has ended."""
        self._servings.pop(serving, None)

    async def close(self) -> None:
        """End everything, and remove the folder."""
        servings = list(self._servings)
        for container_id in list(self._grants):
            self.revoke(container_id)
        for serving in servings:
            await serving.close()
        self._authority = None
        with contextlib.suppress(OSError):
            await asyncio.to_thread(shutil.rmtree, self._folder)
