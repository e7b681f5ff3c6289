"""The ASGI application: reads, checks the key, dispatches, keeps the journal, applies faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_containers.local import delivery
from airflow_containers.local.access import Access
from airflow_containers.local.admin import urls as admin_urls
from airflow_containers.local.bodies import DRAIN_FACTOR, ResetOrderedError
from airflow_containers.local.contents import FileAnswer
from airflow_containers.local.errors import (
    ApiError,
    InternalError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    UnknownUrlError,
)
from airflow_containers.local.faults import Fault, FaultBook
from airflow_containers.local.http import ApiRequest, Found, error_response
from airflow_containers.local.journal import Journal
from airflow_containers.local.options import ServerOptions
from airflow_containers.local.responses.events import EventStream
from airflow_containers.local.services import Services
from airflow_containers.local.store import Store

MAX_BODY_BYTES = 128 << 20
"""Longest request body: the largest inline skill (67 MiB of base64) and as much again."""

_API_VERSION = "2020-10-01"
_CONTAINER_ID = re.compile(r"/(cntr_[0-9a-f]{48})(?:/|$)")


def create_app(
    state_dir: str | os.PathLike[str],
    api_key: str | None = None,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    options: ServerOptions | None = None,
) -> LocalApp:
    """Make the local server's ASGI application.

    :param state_dir: directory of its state, made when missing; used by one application at a time.
    :param api_key: the only key that is accepted; ``None`` accepts any key that is not empty.
    :param max_body_bytes: longest request body, in bytes; longer ones get a 413.
    :param options: what containers may do; ``None`` for the defaults.
    :raises airflow_containers.local.store.StateDirError: when the directory cannot be used.
    """
    return LocalApp(Store(Path(state_dir)), api_key, max_body_bytes, options)


class LocalApp:
    """The local server as an ASGI application; make one with :func:`create_app`."""

    def __init__(
        self, store: Store, api_key: str | None, max_body_bytes: int, options: ServerOptions | None = None
    ) -> None:
        self._store = store
        self._access = Access(api_key)
        self._max_body_bytes = max_body_bytes
        self._faults = FaultBook()
        self._journal = Journal()
        self._services = Services(store, self._faults, self._journal, options)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove what expires, also when nobody asks for it, and have commands end with the context."""
        async with self._services.running():
            yield

    def close(self) -> None:
        """Close the state; the application cannot be used afterwards."""
        self._store.close()

    def discard(self) -> None:
        """Close and remove the state."""
        self._services.blobs.discard()
        self._store.discard()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event: a request, or the start and end of the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = ApiRequest(scope, receive)
        admin = scope["path"].startswith(admin_urls.PREFIX)
        request_id = "" if admin else self._services.ids.request_id()
        fault = None if admin else self._faults.take_before_reading(request.method, scope["path"])
        try:
            response, fault = await self._respond(request, fault, admin=admin)
        except ClientDisconnect:
            # Part of a request is no request: it is not carried out, and there is nobody to answer.
            return
        if not admin:
            self._finish(request, response, request_id, fault)
        if fault is None and response is not None:
            await response(scope, receive, send)
        else:
            await delivery.deliver(response, fault, scope, receive, send)

    async def _respond(
        self, request: ApiRequest, fault: Fault | None, *, admin: bool
    ) -> tuple[Response | None, Fault | None]:
        """The answer, ``None`` when the connection is to be reset, and the fault that has touched it."""
        method, path = request.method, request.scope["path"]
        found = (self._services.admin if admin else self._services.api).find(path)
        endpoint = found[0].get(method) if found is not None else None
        response: Response | None
        try:
            if fault is not None:
                request.reader.reset_after = fault.reset_reading_after
                await request.reader.drain(sys.maxsize)
            if endpoint is None or not endpoint.streams:
                await request.load(self._max_body_bytes)
            if not admin:
                fault = self._faults.take(method, path, lambda: self._name(request))
            if fault is None:
                response = await self._answer(request, found)
            else:
                response = await self._answer_under(fault, request, found)
            if method == "DELETE" or (admin and method == "POST"):
                # Whoever is told that something is gone may look.
                await self._services.blobs.settled()
            if not request.reader.is_done:
                await self._drain(request, response)
        except PayloadTooLargeError as error:
            response = error_response(error)
            await self._drain(request, response)
            response.headers["connection"] = "close"
        except ResetOrderedError:
            response = None
        return response, fault

    async def _drain(self, request: ApiRequest, response: Response | None) -> None:
        reader = request.reader
        limit = DRAIN_FACTOR * self._max_body_bytes
        if not reader.is_done and response is not None and not await reader.drain(limit):
            response.headers["connection"] = "close"

    async def _answer_under(self, fault: Fault, request: ApiRequest, found: Found | None) -> Response | None:
        """The answer as ``fault`` wants it, or ``None`` when the connection is to be reset."""
        planned = fault.answer()
        response: Response | None = None
        if fault.when == "before" and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.when == "after" or (planned is None and not fault.reset):
            response = await self._answer(request, found)
        if fault.reset or planned is not None:
            if isinstance(response, FileAnswer):
                response.close()
            elif isinstance(response, EventStream):
                await response.withhold(request.receive)
        if fault.when == "after" and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.reset:
            return None
        if planned is not None:
            status, content, content_type = planned
            response = Response(content, status, headers={"content-type": content_type})
        return response

    async def _answer(self, request: ApiRequest, found: Found | None) -> Response:
        try:
            return await self._dispatch(request, found)
        except ApiError as error:
            return error_response(error)
        except (ClientDisconnect, ResetOrderedError):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: a client gets its 500
            # The message of an exception may repeat what was sent, so only its type and place are shown.
            frames = "".join(traceback.format_tb(error.__traceback__))
            sys.stderr.write(f"{type(error).__name__} in {request.method} {request.url.path}\n{frames}\n")
            return error_response(InternalError())

    async def _dispatch(self, request: ApiRequest, found: Found | None) -> Response:
        path = request.scope["path"]
        if found is None:
            raise UnknownUrlError(request.method, path)
        if path.startswith(admin_urls.PREFIX):
            self._access.check_admin(request)
        else:
            self._access.check(request)
        endpoints, request.scope["path_params"] = found
        endpoint = endpoints.get(request.method)
        if endpoint is None:
            raise MethodNotAllowedError(request.method, path, sorted(endpoints))
        return await endpoint.handler(request)

    def _name(self, request: ApiRequest) -> str | None:
        """The container that a request is about, for faults that ask."""
        match = _CONTAINER_ID.search(request.scope["path"])
        if match is not None:
            return self._services.containers.name_of(match[1])
        body = request.parsed()
        name = body.get("name") if isinstance(body, dict) else request.query_params.get("name")
        return name if isinstance(name, str) else None

    def _finish(
        self,
        request: ApiRequest,
        response: Response | None,
        request_id: str,
        fault: Fault | None,
    ) -> None:
        reader = request.reader
        seconds = time.perf_counter() - reader.ended if reader.is_done else 0.0
        if response is not None:
            # Written straight into the list: on a plain create, three lookups by name are a visible share.
            response.raw_headers += [
                (b"x-request-id", request_id.encode()),
                (b"openai-version", _API_VERSION.encode()),
                (b"openai-processing-ms", b"%d" % (seconds * 1000)),
            ]
            if fault is not None:
                _override(response.headers, fault)
        size = reader.size
        body: object = request.form_summary
        if body is None and size:
            body = request.parsed()
        self._journal.add(
            request_id=request_id,
            time=self._services.clock.now(),
            method=request.method,
            path=request.scope["path"],
            query=request.query_params.multi_items() if request.scope["query_string"] else (),
            headers=request.scope["headers"],
            body=body,
            body_bytes=size,
            status=None if response is None else response.status_code,
            fault=None if fault is None else str(fault),
            seconds=seconds,
        )


def _override(headers: MutableHeaders, fault: Fault) -> None:
    for name, value in fault.order.get("headers", {}).items():
        if value is None:
            del headers[name]
        else:
            headers[name] = value
