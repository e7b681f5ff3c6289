"""Host names, authorities and addresses of URLs, as strict as a gate has to read them.

Nothing here is lenient: what two programs could read in two ways is refused, as one of them would be the
gate and the other the server behind it.
"""

from __future__ import annotations

import re

MAX_HOST = 253
"""Characters of a host name (RFC 1035, section 2.3.4)."""

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_ABSOLUTE = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)", re.IGNORECASE
)


class HostError(ValueError):
    """Text that is no host name or authority that the gate lets through.

    :param message: what is wrong, in one sentence without the text itself.
    :param is_address: whether it is an IP address, in whatever form.
    """

    def __init__(self, message: str, *, is_address: bool = False) -> None:
        super().__init__(message)
        self.is_address = is_address


def parse_host(text: str) -> str:
    """Return a host name in lower case, without a final dot.

    :raises HostError: for an IP address in any of its forms, and for whatever is no host name.
    """
    host = text.lower().removesuffix(".") if text.isascii() else ""
    if text.startswith("[") or text.count(":") > 1 or _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise HostError("It is an IP address; only host names can be reached.", is_address=True)
    if len(host) > MAX_HOST or not _HOST.fullmatch(host):
        raise HostError("It is not a host name.")
    return host


def parse_port(text: str) -> int:
    """Return a port number.

    :raises HostError: for anything else than digits without leading zeros, up to 65535.
    """
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise HostError("It has no valid port.")
    return int(text)


def parse_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return the host and port of ``HOST:PORT``.

    :param default_port: for an authority without port; ``None`` when it must have one.
    :raises HostError: when it is anything else, or has a user.
    """
    if "@" in text:
        raise HostError("It has a user before the host name.")
    if text.startswith("["):
        raise HostError("It is an IP address; only host names can be reached.", is_address=True)
    host, colon, port = text.rpartition(":")
    if not colon:
        host = text
        if default_port is None:
            raise HostError("It has no port.")
        return parse_host(host), default_port
    return parse_host(host), parse_port(port)


def parse_absolute(target: str) -> tuple[str, str, str]:
    """Split an address such as ``http://api.example.com/v1?a=b`` into scheme, authority and the rest.

    :returns: the scheme in lower case, the authority as it is, and path and query, which begin with ``/``.
    :raises HostError: when it is none.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise HostError("It is not an absolute address.")
    rest = found["rest"]
    return found["scheme"].lower(), found["authority"], rest if rest.startswith("/") else f"/{rest}"
