"""Sends answers that a fault has touched: reset, truncated, malformed or slow.

Resets and truncation need the connection itself, which ASGI does not give: the server puts it into
``scope["extensions"]`` (see :mod:`airflow_containers.local.server`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from airflow_containers.local.contents import TRANSPORT, FileAnswer
from airflow_containers.local.faults import Fault
from airflow_containers.local.responses.events import EventStream

_STEP = 256 << 10


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
    if isinstance(response, EventStream):
        await response(scope, receive, _Shaping(order, scope, send).send)
    else:
        await _deliver_known(response, order, scope, receive, send)


async def _deliver_known(
    response: Response, order: dict[str, Any], scope: Scope, receive: Receive, send: Send
) -> None:
    """Send an answer whose length is known."""
    length, announced = _lengths(response, order)
    body = b""
    if not isinstance(response, FileAnswer):
        body = bytes(response.body)
        if order.get("malformed"):
            body = _malform(body)
            length = announced = len(body)
    response.headers["content-length"] = str(announced)
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    drip = order.get("drip")
    step = drip["bytes"] if drip else _STEP
    source = _slices(body[:length], step)
    if isinstance(response, FileAnswer):
        source = response.pieces(length, step)
    is_first = True
    async with contextlib.aclosing(source) as pieces:
        async for piece in pieces:
            if drip and not is_first:
                await asyncio.sleep(drip["seconds"])
            is_first = False
            if _is_closing(scope):
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    if "reset_after" in order:
        await _until_written(_transport(scope))
        _reset(_transport(scope))
        await _until_gone(receive)
    elif length < announced:
        _transport(scope).close()
        await _until_gone(receive)
    else:
        await send({"type": "http.response.body", "body": b""})


class _Shaping:
    """Sends a stream of events as ``order`` asks: as it comes, or in one piece where half of it is wanted.

    No length is announced, so that a cut is a stream without an end.
    """

    def __init__(self, order: dict[str, Any], scope: Scope, send: Send) -> None:
        self._order = order
        self._scope = scope
        self._pass_on = send
        self._whole = bytearray()
        self._is_half = bool(order.get("malformed")) or order.get("truncate") is True
        self._is_cut = "reset_after" in order or order.get("truncate", False) is not False
        self._left = order.get("reset_after", order.get("truncate")) if self._is_cut else None
        self._has_begun = False

    async def send(self, message: Message) -> None:
        """Send the start of an answer, or a part of its body."""
        if message["type"] != "http.response.body":
            await self._pass_on(message)
            return
        body, is_last = message["body"], not message.get("more_body", False)
        if self._is_half:
            self._whole += body
            if not is_last:
                return
            body = bytes(self._whole[: len(self._whole) // 2])
        elif self._left is not None:
            body = body[: self._left]
            self._left -= len(body)
        await self._send_slowly(body)
        if self._is_cut and (is_last or self._left == 0):
            await self._cut()
        if is_last:
            await self._pass_on({"type": "http.response.body", "body": b""})

    async def _send_slowly(self, body: bytes) -> None:
        drip = self._order.get("drip")
        async for piece in _slices(body, drip["bytes"] if drip else _STEP):
            if drip and self._has_begun:
                await asyncio.sleep(drip["seconds"])
            self._has_begun = True
            await self._pass_on({"type": "http.response.body", "body": piece, "more_body": True})

    async def _cut(self) -> None:
        transport = _transport(self._scope)
        if "reset_after" in self._order:
            await _until_written(transport)
            _reset(transport)
        else:
            transport.close()
        # The stream ends as soon as it sees that the client has left.
        await asyncio.get_running_loop().create_future()


def _lengths(response: Response, order: dict[str, Any]) -> tuple[int, int]:
    """How much of the body is sent, and how much is announced."""
    whole = response.length if isinstance(response, FileAnswer) else len(response.body)
    truncate = order.get("truncate", False)
    if order.get("malformed"):
        return whole // 2, whole // 2
    if "reset_after" in order:
        cut = min(order["reset_after"], whole)
    elif truncate is not False:
        cut = min(whole // 2 if truncate is True else truncate, whole)
    else:
        return whole, whole
    # At least one byte more than is sent, also when the body was empty or shorter than the cut.
    return cut, max(whole, cut + 1)


async def _slices(body: bytes, step: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), step):
        yield body[start : start + step]


async def _until_written(transport: asyncio.Transport) -> None:
    # A reset throws away what waits in the process; what the kernel has may still be lost on the way.
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - tells nobody
        await asyncio.sleep(0.005)


def _is_closing(scope: Scope) -> bool:
    transport = scope.get("extensions", {}).get(TRANSPORT)
    return transport is not None and transport.is_closing()


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
