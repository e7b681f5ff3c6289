"""From host names to addresses that may be connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from airflow_containers.local.egress.options import EgressOptions
from airflow_containers.local.egress.refusals import Refusal

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Finds the addresses of a host name.

:raises OSError: when there are none.
"""

RESOLVE_SECONDS = 10.0

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# What `ipaddress` calls global in one version of Python or another, and what leads elsewhere than it says.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet, and of nothing that leads back inside."""
    address = _parse(text)
    if address is None:
        return False
    if any(address.version == network.version and address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast


def _parse(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
    return address


def _is_usable(text: str) -> bool:
    """Whether an address can be that of one server at all, be it private or not."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified)


class Resolver:
    """Finds addresses and checks them."""

    def __init__(self, options: EgressOptions, resolve: Resolve | None = None) -> None:
        self.options = options
        self._resolve = resolve or system_resolve

    async def find(self, host: str) -> tuple[str, ...]:
        """The addresses of an allowed domain, best first.

        :raises Refusal: when there are none, or when one of them is not public: an answer that mixes both is
            what an attack looks like.
        """
        addresses = await self._addresses(host)
        check = _is_usable if self.options.allow_private else is_public
        if not all(check(address) for address in addresses):
            raise Refusal(
                403,
                "Address not public",
                f"{host} leads to an address that is not public. The operator of the server can allow "
                "that with --allow-private-addresses, or name one with --connect-to.",
            )
        return tuple(addresses)

    async def named(self, address: str, port: int) -> tuple[tuple[str, int], ...]:
        """Where to connect to when the operator has named it, which may be anywhere.

        :raises Refusal: when it is a name without address.
        """
        if _parse(address) is not None:
            return ((address, port),)
        return tuple((found, port) for found in await self._addresses(address))

    async def _addresses(self, host: str) -> list[str]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                addresses = list(dict.fromkeys(await self._resolve(host)))
        except TimeoutError:
            raise Refusal(504, "Name not resolved", f"Resolving {host} took too long.") from None
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise Refusal(502, "Name not resolved", f"The name {host} has no address.")
        return addresses


async def system_resolve(host: str) -> Sequence[str]:
    """Ask the system's resolver."""
    loop = asyncio.get_running_loop()
    # With a final dot, so that no search domain of this machine is tried.
    name = host if host == "localhost" else f"{host}."
    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]
