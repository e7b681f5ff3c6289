"""What tests of transfers over real connections share: what is sent, and either client to send it with."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.api import (
    AsyncContainersClient,
    ClientOptions,
    ContainersClient,
    CreateContainerRequest,
    Downloaded,
)
from airflow_containers.api.endpoints import (
    container_file_content,
    create_container_file,
    list_container_files,
)
from airflow_containers.testing import LocalServer
from tests.support.raw_server import Answer, reply

SIZE = 3_000_000
DATA = random.Random(20_261_124).randbytes(SIZE)
CONTENT = container_file_content("cntr_1", "cfile_1")
OFFSETS = [0, 1, 65_535, 65_536, *sorted(random.Random(7).sample(range(SIZE), 4)), SIZE - 1]

Operation = Callable[[Any], Any]
Call = Callable[..., Any]


def call_sync(base_url: str, operation: Operation, **options: Any) -> Any:
    """One call with the client for plain code."""
    with ContainersClient(ClientOptions(base_url=base_url, **{"api_key": "sk-1", **options})) as client:
        return operation(client)


def call_async(base_url: str, operation: Operation, **options: Any) -> Any:
    """One call with the client for an event loop."""

    async def main() -> Any:
        options_ = ClientOptions(base_url=base_url, **{"api_key": "sk-1", **options})
        async with AsyncContainersClient(options_) as client:
            return await operation(client)

    return asyncio.run(main())


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """A call with either client."""
    function: Call = request.param
    return function


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other soon."""
    monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.01)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where a download goes. In the end there is nothing beside it that a download has left."""
    folder = tmp_path / "folder"
    folder.mkdir()
    yield folder / "out.bin"
    assert {path.name for path in folder.iterdir()} <= {"out.bin"}


def download(target: Path, **arguments: Any) -> Operation:
    """The download of the file that a raw server has."""
    return lambda client: client.download(CONTENT, target, **arguments)


def served(headers: dict[str, str] | None = None, data: bytes = DATA) -> Answer:
    """The whole content."""
    return reply(200, data, {"content-type": "application/octet-stream", **(headers or {})})


class World:
    """A container, and one client to work on it with."""

    def __init__(self, server: LocalServer, call: Call) -> None:
        self.server = server
        self._call = call
        self.container_id: str = self.run(
            lambda client: client.create(CreateContainerRequest(name="world"))
        ).id

    def run(self, operation: Operation) -> Any:
        """One operation."""
        return self._call(self.server.base_url, operation, api_key=self.server.api_key)

    def upload(self, source: Any) -> Any:
        """Send a source."""
        return self.run(lambda client: client.send(create_container_file(self.container_id, source)))

    def download(self, file_id: str, target: Path, **arguments: Any) -> Downloaded:
        """Fetch a file."""
        content = container_file_content(self.container_id, file_id)
        fetched: Downloaded = self.run(lambda client: client.download(content, target, **arguments))
        return fetched

    def contents(self) -> list[str]:
        """SHA-256 of each file."""
        with ContainersClient(
            ClientOptions(api_key=self.server.api_key, base_url=self.server.base_url)
        ) as client:
            digests = []
            for file in client.send(list_container_files(self.container_id)).data:
                with client.stream(container_file_content(self.container_id, file.id)) as streamed:
                    digests.append(hashlib.sha256(b"".join(streamed.pieces)).hexdigest())
        return digests
