"""What one container may do at its way out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_containers.local.egress.refusals import Refusal, shown
from airflow_containers.local.egress.resolving import Resolver
from airflow_containers.local.egress.secrets import DomainSecret, SecretBook

if TYPE_CHECKING:
    from airflow_containers.local.egress.redaction import Patterns
    from airflow_containers.local.egress.streams import SocketStream

_SHOWN_DOMAINS = 20


class Grant:
    """The domains and secrets of one container, and where its domains are.

    :ivar streams: the open connections of the container and on its behalf.
    """

    def __init__(
        self,
        container_id: str,
        allowed_domains: Sequence[str],
        secrets: Sequence[DomainSecret],
        resolver: Resolver,
    ) -> None:
        self.container_id = container_id
        self.secrets = SecretBook(secrets)
        self.streams: set[SocketStream] = set()
        self.connections = 0
        self.ended = False
        self._domains = tuple(dict.fromkeys(allowed_domains))
        self._resolver = resolver
        self._pins: dict[str, tuple[str, ...]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._patterns: Patterns | None = None

    def check(self, host: str, port: int, *, default_port: int) -> None:
        """Refuse a domain that is not on the list, and a port that is not the usual one.

        :param host: as :func:`~airflow_containers.local.egress.names.parse_host` returns it.
        :raises Refusal: with what to add to the list.
        """
        if self.ended:
            raise Refusal(403, "Container is gone", "The container is gone.")
        if host not in self._domains:
            raise Refusal(
                403,
                "Host not in allowed_domains",
                f"{shown(host)} is not in this container's allowed_domains ({self._list()}). To let it "
                f'through, create the container with "{shown(host)}" in network_policy.allowed_domains.',
            )
        if port != default_port and (host, port) not in self._resolver.options.connect_to:
            kind = "HTTPS goes to port 443" if default_port == 443 else "HTTP goes to port 80"
            raise Refusal(
                403,
                "Port not allowed",
                f"Port {port} of {host} is not allowed: {kind} only. The operator of the server can allow "
                f"another with --connect-to {host}:{port}:ADDRESS:PORT.",
            )

    def _list(self) -> str:
        names = ", ".join(self._domains[:_SHOWN_DOMAINS])
        more = len(self._domains) - _SHOWN_DOMAINS
        return f"{names} and {more} more" if more > 0 else names

    async def addresses(self, host: str, port: int) -> tuple[tuple[str, int], ...]:
        """Where a domain is: found out once, and the same for as long as the container lives.

        :raises Refusal: when it is nowhere, or where it must not be.
        """
        target = self._resolver.options.connect_to.get((host, port))
        if target is not None:
            return await self._resolver.named(*target)
        async with self._locks.setdefault(host, asyncio.Lock()):
            pinned = self._pins.get(host)
            if pinned is None:
                pinned = await self._resolver.find(host)
                self._pins[host] = pinned
        return tuple((address, port) for address in pinned)

    def patterns(self) -> Patterns:
        """What to look for in answers."""
        if self._patterns is None:
            from airflow_containers.local.egress.redaction import Patterns

            self._patterns = Patterns(self.secrets.values())
        return self._patterns

    def end(self) -> None:
        """End all connections at once, and forget the values."""
        self.ended = True
        self.secrets.forget()
        self._patterns = None
        for stream in list(self.streams):
            stream.abort()
