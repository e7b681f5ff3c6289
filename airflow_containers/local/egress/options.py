"""What the operator of a server may choose about the way out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from airflow_containers.local.egress.names import HostError, parse_host, parse_port

_CONNECT_TO = re.compile(r"(?P<host>[^:]*):(?P<port>[^:]*):(?P<address>\[[^\]]*\]|[^:]*):(?P<to>[^:]*)")
_EXPECTED = "expected HOST:PORT:ADDRESS:PORT, such as api.example.com:443:127.0.0.1:8443"


@dataclass(frozen=True, slots=True)
class EgressOptions:
    """How the proxy connects to allowed domains.

    :param allow_private: let names of allowed domains lead to private, loopback and link-local addresses.
    :param connect_to: where to connect instead, by host and port; the target may be private, and the port
        may be another than those of HTTP and HTTPS. The host has to be on a container's list all the same.
    :param upstream_ca: certificates in PEM form that are trusted beside those of the system, by the proxy and
        inside of containers.
    """

    allow_private: bool = False
    connect_to: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    upstream_ca: Path | None = None


def parse_connect_to(text: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Read ``HOST:PORT:ADDRESS:PORT``, as curl's ``--connect-to`` has it.

    :param text: ``ADDRESS`` is a host name or an IP address, one of version 6 in brackets.
    :returns: what is asked for, and what is connected to.
    :raises ValueError: with what was expected.
    """
    found = _CONNECT_TO.fullmatch(text)
    if found is None:
        raise ValueError(_EXPECTED)
    try:
        source = parse_host(found["host"]), parse_port(found["port"])
        return source, (_address(found["address"]), parse_port(found["to"]))
    except HostError:
        raise ValueError(_EXPECTED) from None


def _address(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return parse_host(text)
