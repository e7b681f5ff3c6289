"""The application in this process, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.local import LocalApp, create_app

MISSING = object()


@dataclass
class Answer:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of the envelope."""
        error: dict[str, Any] = self.json["error"]
        return error


class Driver:
    """Sends requests to an application."""

    def __init__(self, app: LocalApp, client: str = "127.0.0.1") -> None:
        self.app = app
        self.client = client

    def __call__(
        self,
        method: str,
        path: str,
        body: object = MISSING,
        *,
        content: bytes = b"",
        headers: dict[str, str] | None = None,
        chunks: int = 1,
        cut: bool = False,
    ) -> Answer:
        """One request; the key is ``any`` unless ``headers`` has an entry for it.

        With ``cut``, the client announces more of the body and leaves; the answer's status is 0 then.
        """
        if body is not MISSING:
            content = json.dumps(body).encode()
        sent = {"authorization": "Bearer any", "content-type": "application/json", **(headers or {})}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items() if value],
            "client": (self.client, 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
        }
        step = -(-len(content) // chunks) or 1
        parts = [content[start : start + step] for start in range(0, len(content), step)] or [b""]
        events = [
            {"type": "http.request", "body": part, "more_body": cut or number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]
        answer = Answer(0, {}, b"")

        async def receive() -> Any:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {
                    name.decode(): value.decode("latin-1") for name, value in message["headers"]
                }
            else:
                answer.body += message.get("body", b"")

        asyncio.run(self.app(scope, receive, send))
        return answer


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Make applications; they are closed after the test."""
    made: list[LocalApp] = []

    def make(state_dir: Path = tmp_path / "state", client: str = "127.0.0.1", **options: Any) -> Driver:
        made.append(create_app(state_dir, **options))
        return Driver(made[-1], client)

    yield make
    for app in made:
        app.close()


@pytest.fixture
def call(make_app: Callable[..., Driver]) -> Driver:
    """An application with default options."""
    return make_app()
