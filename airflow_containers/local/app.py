"""The ASGI application: reads, checks the key, dispatches, keeps the journal, applies faults."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import sys
import time
import traceback
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_containers.local import delivery
from airflow_containers.local.admin import urls as admin_urls
from airflow_containers.local.admin.exceptions import RemoteNotAllowedError
from airflow_containers.local.admin.models import AdminBackend
from airflow_containers.local.admin.responses import AdminResponses
from airflow_containers.local.clock import Clock
from airflow_containers.local.containers import urls as container_urls
from airflow_containers.local.containers.models import ContainerBackend, Quirks
from airflow_containers.local.containers.responses import ContainerResponses
from airflow_containers.local.errors import (
    ApiError,
    InternalError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    UnauthorizedError,
    UnknownUrlError,
)
from airflow_containers.local.faults import Fault, FaultBook
from airflow_containers.local.http import ApiRequest, Router, error_response
from airflow_containers.local.ids import Ids
from airflow_containers.local.journal import Journal
from airflow_containers.local.store import Store
from airflow_containers.local.web_pages import is_loopback, refuse_any_page, refuse_foreign_page

MAX_BODY_BYTES = 128 << 20
"""Longest request body: the largest inline skill (67 MiB of base64) and as much again."""

_DRAIN_FACTOR = 4
_API_VERSION = "2020-10-01"
_CONTAINER_ID = re.compile(r"/(cntr_[0-9a-f]{48})(?:/|$)")
_TEST_CLIENT = "testclient"
"""Client address of requests by Starlette's test client, which go through no socket."""


def create_app(
    state_dir: str | os.PathLike[str],
    api_key: str | None = None,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> LocalApp:
    """Make the local server's ASGI application.

    :param state_dir: directory of its state, made when missing; used by one application at a time.
    :param api_key: the only key that is accepted; ``None`` accepts any key that is not empty.
    :param max_body_bytes: longest request body, in bytes; longer ones get a 413.
    :raises airflow_containers.local.store.StateDirError: when the directory cannot be used.
    """
    return LocalApp(Store(Path(state_dir)), api_key, max_body_bytes)


class LocalApp:
    """The local server as an ASGI application; make one with :func:`create_app`."""

    def __init__(self, store: Store, api_key: str | None, max_body_bytes: int) -> None:
        self._store = store
        self._api_key = None if api_key is None else api_key.encode()
        self._max_body_bytes = max_body_bytes
        self._clock = Clock()
        self._ids = Ids(store)
        self._faults = FaultBook()
        self._journal = Journal()
        quirks = Quirks()
        self._containers = ContainerBackend(store, self._clock, self._ids, quirks)
        admin = AdminBackend(store, self._clock, self._ids, quirks, self._faults, self._journal)
        # A further service is a package like `containers`, and one more line here.
        self._api = Router(container_urls.endpoints(ContainerResponses(self._containers, self._clock)))
        self._admin = Router(admin_urls.endpoints(AdminResponses(admin, self._containers)))

    def close(self) -> None:
        """Close the state; the application cannot be used afterwards."""
        self._store.close()

    def discard(self) -> None:
        """Close and remove the state."""
        self._store.discard()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event: a request, or the start and end of the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content, size = await self._read(receive)
        except ClientDisconnect:
            # Part of a request is no request: it is not carried out, and there is nobody to answer.
            return
        request = ApiRequest(scope, receive, content or b"")
        admin = scope["path"].startswith(admin_urls.PREFIX)
        started = time.perf_counter()
        request_id = "" if admin else self._ids.request_id()
        response: Response | None
        fault: Fault | None = None
        if content is None:
            response = error_response(PayloadTooLargeError(self._max_body_bytes))
            response.headers["connection"] = "close"
        elif admin:
            response = await self._answer(request, self._admin)
        else:
            fault = self._faults.take(request.method, scope["path"], lambda: self._name(request))
            response = await self._answer_api(request, fault)
        if not admin:
            self._finish(request, response, request_id, fault, size, time.perf_counter() - started)
        if fault is None and response is not None:
            await response(scope, receive, send)
        else:
            await delivery.deliver(response, fault, scope, receive, send)

    async def _read(self, receive: Receive) -> tuple[bytes | None, int]:
        """Read the body; ``None`` when it is too long, of which the rest is read and thrown away.

        :raises starlette.requests.ClientDisconnect: when the connection ends before the body does.
        """
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= self._max_body_bytes:
                chunks.append(chunk)
            else:
                chunks.clear()
            # Clients read the answer only after they have sent everything, so let them, up to a point.
            if not message.get("more_body", False) or size > _DRAIN_FACTOR * self._max_body_bytes:
                break
        if size > self._max_body_bytes:
            return None, size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks), size

    async def _answer_api(self, request: ApiRequest, fault: Fault | None) -> Response | None:
        """The answer, or ``None`` when the connection is to be reset."""
        if fault is None:
            return await self._answer(request, self._api)
        planned = fault.answer()
        response: Response | None = None
        if fault.when == "before" and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.when == "after" or (planned is None and not fault.reset):
            response = await self._answer(request, self._api)
        if fault.when == "after" and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.reset:
            return None
        if planned is not None:
            status, content, content_type = planned
            response = Response(content, status, headers={"content-type": content_type})
        return response

    async def _answer(self, request: ApiRequest, router: Router) -> Response:
        try:
            return await self._dispatch(request, router)
        except ApiError as error:
            return error_response(error)
        except Exception as error:  # noqa: BLE001 - the last resort: a client gets its 500
            # The message of an exception may repeat what was sent, so only its type and place are shown.
            frames = "".join(traceback.format_tb(error.__traceback__))
            sys.stderr.write(f"{type(error).__name__} in {request.method} {request.url.path}\n{frames}\n")
            return error_response(InternalError())

    async def _dispatch(self, request: ApiRequest, router: Router) -> Response:
        path = request.scope["path"]
        found = router.find(path)
        if found is None:
            raise UnknownUrlError(request.method, path)
        if router is self._admin:
            self._authorize_admin(request)
        else:
            self._authorize(request)
        methods, request.scope["path_params"] = found
        handler = methods.get(request.method)
        if handler is None:
            raise MethodNotAllowedError(request.method, path, sorted(methods))
        return await handler(request)

    def _authorize(self, request: ApiRequest) -> None:
        if self._api_key is None:
            refuse_foreign_page(request.headers)
        key = _sent_key(request)
        if not key:
            raise UnauthorizedError.missing()
        if self._api_key is not None and not hmac.compare_digest(key.encode(), self._api_key):
            raise UnauthorizedError.incorrect()

    def _authorize_admin(self, request: ApiRequest) -> None:
        if self._api_key is not None:
            self._authorize(request)
            return
        client = request.client.host if request.client else ""
        if client == _TEST_CLIENT:
            return
        if client and not is_loopback(client):
            raise RemoteNotAllowedError
        refuse_any_page(request.headers)

    def _name(self, request: ApiRequest) -> str | None:
        """The container that a request is about, for faults that ask."""
        match = _CONTAINER_ID.search(request.scope["path"])
        if match is not None:
            return self._containers.name_of(match[1])
        body = request.parsed()
        name = body.get("name") if isinstance(body, dict) else request.query_params.get("name")
        return name if isinstance(name, str) else None

    def _finish(
        self,
        request: ApiRequest,
        response: Response | None,
        request_id: str,
        fault: Fault | None,
        size: int,
        seconds: float,
    ) -> None:
        if response is not None:
            # Written straight into the list: on a plain create, three lookups by name are a visible share.
            response.raw_headers += [
                (b"x-request-id", request_id.encode()),
                (b"openai-version", _API_VERSION.encode()),
                (b"openai-processing-ms", b"%d" % (seconds * 1000)),
            ]
            if fault is not None:
                _override(response.headers, fault)
        self._journal.add(
            request_id=request_id,
            time=self._clock.now(),
            method=request.method,
            path=request.scope["path"],
            query=request.query_params.multi_items() if request.scope["query_string"] else (),
            headers=request.scope["headers"],
            body=request.parsed() if size else None,
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


def _sent_key(request: ApiRequest) -> str:
    """The key from ``Authorization: Bearer …``, or from ``api-key`` as Azure's clients send it."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("api-key", "").strip()
