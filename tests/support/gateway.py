"""A gateway in front of the local server, which keeps what it forwards, secrets included.

And it can repeat a request, headers and body, in what it answers.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_containers.testing import LocalServer

_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"]
_NOT_FORWARDED = {"host", "content-length", "connection", "transfer-encoding"}
START_WITHIN = 30


class Gateway:
    """Runs in a thread of the test process, on a free port of 127.0.0.1; use it as a context manager.

    `received` are all requests as one text each, secrets included, `responses` the bodies that were sent to
    ``/v1/responses``.
    """

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.responses: list[dict[str, Any]] = []
        self.received: list[str] = []
        self._echoes = 0
        self._echoed_method: str | None = None
        self._babbles = 0
        self._upstream = urlsplit(server.base_url)._replace(path="").geturl()
        routes = [Route("/{path:path}", self._forward, methods=_METHODS)]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=0, log_level="warning", lifespan="off"
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._uvicorn.serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + START_WITHIN
        while not self._uvicorn.started:
            assert self._thread.is_alive(), "the gateway has ended"
            assert time.monotonic() < deadline, "the gateway did not start in time"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(START_WITHIN)

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    def reset(self) -> None:
        """Empty the local server, and forget what was ordered and asked."""
        self.server.reset()
        self.responses.clear()
        self.received.clear()
        self._echoes = 0
        self._babbles = 0

    def echo(self, times: int, method: str | None = None) -> None:
        """Answer the next requests (of one method) with 400 and a message with all that the client sent."""
        self._echoes = times
        self._echoed_method = method

    def babble(self, times: int) -> None:
        """Add all that the client sent to the next true answers: in an unknown field and in the name."""
        self._babbles = times

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        sent = f"{dict(request.headers)} {body.decode(errors='replace')}"
        self.received.append(sent)
        if (request.method, request.url.path) == ("POST", "/v1/responses"):
            self.responses.append(json.loads(body))
        if self._echoes > 0 and self._echoed_method in (None, request.method):
            self._echoes -= 1
            error = {
                "message": f"You sent {sent}",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
            return JSONResponse({"error": error}, status_code=400, headers={"x-request-id": "req_echo"})
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.request(
                request.method,
                f"{self._upstream}{request.url.path}",
                params=request.query_params,
                headers=headers,
                content=body,
            )
        kept = {name: value for name, value in answer.headers.items() if name not in _NOT_FORWARDED}
        content = answer.content
        if self._babbles > 0:
            self._babbles -= 1
            known = answer.json()
            content = json.dumps(
                known | {"name": f"{known.get('name')} {sent}", "request": json.loads(body or b"null")}
            )
        return Response(content, answer.status_code, headers=kept)
