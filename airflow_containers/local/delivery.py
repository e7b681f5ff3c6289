"""Sends answers that a fault has touched: reset, truncated, malformed or slow.

Resets and truncation need the connection itself, which ASGI does not give: the server puts it into
``scope["extensions"]`` (see :mod:`airflow_containers.local.server`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_containers.local.faults import Fault

TRANSPORT = "airflow_containers.transport"
"""Key of the connection's transport in ``scope["extensions"]``."""


class NoTransportError(RuntimeError):
    """The application runs under a server that does not hand over its connections."""


async def deliver(
    response: Response | None, fault: Fault | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send ``response`` as ``fault`` asks; ``None`` resets the connection."""
    if response is None:
        _reset(_transport(scope))
        await _until_gone(receive)
        return
    order = fault.order if fault is not None else {}
    body = bytes(response.body)
    truncate = order.get("truncate", False)
    if order.get("malformed"):
        body = _malform(body)
        response.headers["content-length"] = str(len(body))
    elif truncate is not False:
        body = body[: len(body) // 2 if truncate is True else truncate]
        # At least one byte more than is sent, also when the body was empty or shorter than the cut.
        response.headers["content-length"] = str(max(len(response.body), len(body) + 1))
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    drip = order.get("drip")
    step = drip["bytes"] if drip else len(body)
    for start in range(0, len(body), step or 1):
        if start and drip:
            await asyncio.sleep(drip["seconds"])
        await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
    if truncate is not False:
        _transport(scope).close()
        await _until_gone(receive)
    else:
        await send({"type": "http.response.body", "body": b""})


def _malform(body: bytes) -> bytes:
    """Cut JSON short, so that it is complete as HTTP and broken as JSON."""
    return body[: max(len(body) // 2, 1)] if len(body) > 2 else b'{"'


def _transport(scope: Scope) -> asyncio.Transport:
    transport = scope.get("extensions", {}).get(TRANSPORT)
    if transport is None:
        raise NoTransportError("reset and truncate need `airflow-containers serve`")
    return cast("asyncio.Transport", transport)


def _reset(transport: asyncio.Transport) -> None:
    # With a linger time of zero the kernel sends RST instead of FIN.
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _until_gone(receive: Receive) -> None:
    # The server takes a handler that returns early for a bug unless it has seen the connection end.
    while (await receive())["type"] != "http.disconnect":
        pass
