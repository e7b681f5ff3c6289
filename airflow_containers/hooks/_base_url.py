"""Where a connection points: host, schema and port, however a person filled them, as one base URL."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote, urlsplit

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
OPENAI_HOSTS: Final = frozenset(
    ("api.openai.com", *(f"{region}.api.openai.com" for region in ("us", "eu", "ae", "au", "in", "jp")))
)
"""OpenAI's own hosts: the general one and those of the data residency regions."""

_SCHEMES: Final = ("http", "https")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")
_API_KEY = re.compile(r"sk-[\w-]{16,}")
_EXAMPLE = f"expected the base URL, such as {DEFAULT_BASE_URL!r}"


def join_base_url(host: str | None, schema: str | None = None, port: int | None = None) -> str:
    """Return the base URL that a connection's ``host``, ``schema`` and ``port`` mean together.

    - Nothing given: ``https://api.openai.com/v1``.
    - ``host`` is a host name or a URL, with or without port and path. Without a scheme it means ``https``,
      on a loopback address too: a key never leaves in the clear because of a guess.
    - ``port`` goes behind the host name.
    - ``schema`` is the scheme if it is ``http`` or ``https`` (as in Airflow's HTTP connections), else the
      path (which is where Airflow puts the path of a connection URI), behind a path in ``host``.
    - ``/v1`` is added for OpenAI's own hosts when there is no path. Other URLs are taken as they are.

    :returns: the URL without a final slash.
    :raises ValueError: if the parts contradict each other or make no URL; the text holds no part that could
        be a secret.
    """
    host, schema = (host or "").strip(), (schema or "").strip()
    if not host:
        if schema or port:
            raise ValueError(f"host: it is empty while schema or port is set, {_EXAMPLE}")
        return DEFAULT_BASE_URL
    scheme, authority, path = _split_host(host)
    scheme, path = _with_schema(scheme, path, schema)
    base_url = f"{scheme}://{_with_port(authority, port)}"
    path = path.strip("/")
    if is_openai(base_url):
        if scheme != "https":
            raise ValueError("host: OpenAI answers to https only, and http would show the key to the network")
        path = path or "v1"
    return f"{base_url}/{path}" if path else base_url


def is_openai(base_url: str) -> bool:
    """Whether ``base_url`` is on one of OpenAI's own hosts."""
    return urlsplit(base_url).hostname in OPENAI_HOSTS


def dashboard_url(base_url: str, container_id: str) -> str | None:
    """Return the page of a container in the platform's dashboard; ``None`` for other services."""
    if not is_openai(base_url):
        return None
    return f"https://platform.openai.com/containers/{quote(container_id, safe='')}"


def _split_host(host: str) -> tuple[str, str, str]:
    """Return scheme (or an empty text), authority and path of ``host``."""
    if _API_KEY.fullmatch(host):
        raise ValueError(f"host: it looks like an API key, {_EXAMPLE}; the key goes into the password")
    if any(character.isspace() or not character.isprintable() for character in host):
        raise ValueError(f"host: it has white space or control characters in it, {_EXAMPLE}")
    if "?" in host or "#" in host:
        raise ValueError(f"host: it has a query or a fragment, {_EXAMPLE}")
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "", host
    elif scheme.lower() not in _SCHEMES:
        raise ValueError(f"host: its scheme is {scheme[:20]!r}, expected 'https' or 'http'")
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise ValueError(
            "host: it has user information (something before '@'); the key goes into the password, "
            "and other credentials go into the extra 'headers'"
        )
    return scheme.lower(), authority, path


def _with_schema(scheme: str, path: str, schema: str) -> tuple[str, str]:
    """Return scheme and path after ``schema`` was put where it belongs."""
    if schema.lower() in _SCHEMES:
        if scheme and scheme != schema.lower():
            raise ValueError(f"schema: it is {schema!r} while host begins with '{scheme}://'; leave it empty")
        return schema.lower(), path
    if any(character in schema for character in "?#:@") or any(character.isspace() for character in schema):
        raise ValueError("schema: expected 'https', 'http' or the path of the base URL, such as 'v1'")
    segments, added = path.strip("/"), schema.strip("/")
    if added and segments != added:
        segments = f"{segments}/{added}".strip("/")
    return scheme or "https", segments


def _with_port(authority: str, port: int | None) -> str:
    """Return ``authority`` in lower case with ``port`` behind it."""
    if authority.count(":") > 1 and not authority.startswith("["):
        # Airflow takes the brackets off an IPv6 address when it reads a connection URI.
        authority = f"[{authority}]"
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError(f"host: it has no usable host name and port, {_EXAMPLE}")
    name, own = match["host"].lower(), match["port"]
    if name.startswith("["):
        try:
            ipaddress.IPv6Address(name[1:-1])
        except ValueError:
            raise ValueError(f"host: it has no usable host name and port, {_EXAMPLE}") from None
    if own and port and int(own) != port:
        raise ValueError(f"port: it is {port} while host has the port {own}; leave port empty")
    chosen = int(own) if own else port
    if chosen is not None and not 0 < chosen <= 65535:
        raise ValueError(f"port: got {chosen}, expected a number from 1 to 65535")
    return name if chosen is None else f"{name}:{chosen}"
