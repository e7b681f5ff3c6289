"""Which headers are passed on, and which have to agree."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import h11

from airflow_containers.local.egress.names import HostError, parse_authority
from airflow_containers.local.egress.refusals import Refusal

Headers = list[tuple[bytes, bytes]]

_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
# `Connection: content-length` must not change where a message ends.
_NEVER_NAMED = frozenset({b"content-length", b"host", b"content-encoding"})
_NOT_IN_TRAILERS = frozenset({b"content-length", b"host", b"trailer", b"content-encoding", b"authorization"})


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers without those that are for one connection only."""
    listed = list(headers)
    named = {
        token.strip().lower()
        for name, value in listed
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    dropped = _HOP | (named - _NEVER_NAMED)
    return [(name, value) for name, value in listed if name.lower() not in dropped]


def trailers_of(event: h11.EndOfMessage) -> Headers:
    """The trailers that are passed on."""
    dropped = _NOT_IN_TRAILERS
    return [(n, v) for n, v in end_to_end(event.headers.raw_items()) if n.lower() not in dropped]


def check_host_header(values: list[bytes], host: str, port: int, default_port: int) -> None:
    """Refuse a request whose ``Host`` header is missing or names another host or port.

    :raises Refusal: when it does.
    """
    found: tuple[str, int] | None = None
    if len(values) == 1:
        with contextlib.suppress(HostError):
            found = parse_authority(values[0].decode("latin-1"), default_port)
    if found != (host, port):
        raise Refusal(
            403,
            "Host header differs",
            f"The Host header names another host or port than the request, which goes to {host}:{port}.",
        )
