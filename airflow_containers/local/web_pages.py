"""Keeps web pages away from a server that has no key.

Any page that a browser on this machine shows may send requests to 127.0.0.1, and a page whose host name is
made to lead here (DNS rebinding) may read the answers as well. A key ends both, as no page knows it; without
one, these rules do. A browser tells where a page is from in ``Origin`` and ``Sec-Fetch-Site``, and ``Host``
is the name that the page used; none of the three can be set by a page's script.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from airflow_containers.local.errors import WebPageError

_LOOPBACK = re.compile(r"127\.[\d.]+|::1|::ffff:127\.[\d.]+|localhost", re.IGNORECASE)
_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d*)?")
_OWN_SITES = ("none", "same-origin")


def is_loopback(host: str) -> bool:
    """Whether an address or a name, without port and brackets, is this machine for sure."""
    return _LOOPBACK.fullmatch(host) is not None


def refuse_any_page(headers: Headers) -> None:
    """Let a request pass only if no page can have sent it: for orders.

    :raises WebPageError: for any ``Origin``, a ``Sec-Fetch-Site`` other than ``none`` and ``same-origin``,
        and a ``Host`` that is neither ``localhost`` nor a loopback address. Without ``Host`` it passes.
    """
    if "origin" in headers:
        raise WebPageError("Origin", headers["origin"])
    site = headers.get("sec-fetch-site", "none")
    if site not in _OWN_SITES:
        raise WebPageError("Sec-Fetch-Site", site)
    host = headers.get("host", "")
    match = _HOST.fullmatch(host)
    if host and (match is None or not is_loopback(match[1] or match[2])):
        raise WebPageError("Host", host)


def refuse_foreign_page(headers: Headers) -> None:
    """Let a request pass unless it is from a page of another host: for the API.

    ``Host`` does not count, so that a proxy may stand in front.

    :raises WebPageError: for an ``Origin`` that is not of this machine.
    """
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise WebPageError("Origin", origin)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""
