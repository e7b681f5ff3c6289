"""Uploads without an answer, with servers that make them hard to find: none is made twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_containers.api import AmbiguousUploadError, BadRequestError, BytesSource, ContainerGoneError
from airflow_containers.hooks import _uploads
from airflow_containers.hooks.container import ContainerHook
from tests.support.raw_server import Exchange, RawServer, abort, reply

DATA = b"1,2,3"
GONE = {"error": {"message": "Container with id 'cntr_1' not found."}}


class Service:
    """Takes uploads, and loses the answer to the first.

    :param listed: how the files differ in a list from what they are.
    :param list_fails: what a list is answered with instead.
    """

    def __init__(self, listed: dict[str, Any] | None = None, list_fails: Any = None) -> None:
        self.posts = 0
        self._files: list[dict[str, Any]] = []
        self._listed = listed or {}
        self._list_fails = list_fails

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request."""
        path = exchange.request.target.partition("?")[0]
        if path.endswith("/content"):
            reply(200, DATA, {"content-type": "text/csv"})(exchange)
        elif exchange.request.method == "GET":
            page = {"object": "list", "data": [{**f, **self._listed} for f in self._files], "has_more": False}
            (self._list_fails or reply(200, page))(exchange)
        else:
            self.posts += 1
            file = {
                "id": f"cfile_{self.posts}",
                "created_at": int(time.time()),
                "bytes": len(DATA),
                "path": f"/mnt/data/{'0' * 32}-a.csv",
                "source": "user",
            }
            self._files.insert(0, file)
            abort(exchange.connection) if self.posts == 1 else reply(200, file)(exchange)


class Parts:
    """Takes an upload in parts, loses the answer to its completion, and refuses a second one.

    :param found: whether the list has the file in the end.
    """

    def __init__(self, *, found: bool) -> None:
        self.begun = 0
        self.completed = 0
        self._found = found

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request."""
        path = exchange.request.target.partition("?")[0].removeprefix("/v1")
        if exchange.request.method == "GET":
            file = {"id": "file-1", "filename": "a.bin", "bytes": 1500, "created_at": int(time.time())}
            seen = self._found and self.completed > 1
            reply(200, {"data": [file] if seen else [], "has_more": False})(exchange)
        elif path == "/uploads":
            self.begun += 1
            reply(200, {"id": f"upload_{self.begun}", "created_at": int(time.time())})(exchange)
        elif path.endswith("/complete"):
            self.completed += 1
            if self.completed == 1:
                abort(exchange.connection)
            else:
                reply(400, {"error": {"message": "The upload is completed."}})(exchange)
        else:
            reply(200, {"id": "part_1"})(exchange)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.001)
    monkeypatch.setattr(_uploads, "PAUSES_BEFORE_LOOKS", (0.0, 0.0))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the hook's connection lead to a server."""

    def to(server: RawServer) -> ContainerHook:
        fields = {"conn_type": "openai_containers", "host": server.base_url, "password": "sk-local"}
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT", json.dumps(fields))
        return ContainerHook()

    return to


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "a.csv"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("listed", [{}, {"bytes": None}, {"source": None}], ids=str)
def test_it_is_found(connect: Any, path: Path, listed: dict[str, Any]) -> None:
    """Also where the list does not tell its size: the content does."""
    service = Service(listed)
    with RawServer(service) as server, connect(server) as hook:
        assert "cfile_1" == hook.upload_container_file("cntr_1", path).id
    assert 1 == service.posts


@pytest.mark.parametrize(
    "listed",
    [{"bytes": 6}, {"source": "assistant"}, {"path": "/mnt/data/b"}, {"created_at": 1_700_000_000}],
    ids=str,
)
def test_it_is_another(connect: Any, path: Path, listed: dict[str, Any]) -> None:
    """What cannot have come of the upload is left alone."""
    service = Service(listed)
    with RawServer(service) as server, connect(server) as hook:
        assert "cfile_2" == hook.upload_container_file("cntr_1", path).id


def test_another_of_unknown_size(connect: Any, tmp_path: Path) -> None:
    """A longer content is another file."""
    longer = tmp_path / "a.csv"
    longer.write_bytes(DATA + b",4")
    service = Service({"bytes": None})
    with RawServer(service) as server, connect(server) as hook:
        assert "cfile_2" == hook.upload_container_file("cntr_1", longer).id


@pytest.mark.parametrize(
    "list_fails",
    [
        reply(500, {"error": {"message": "boom"}}),
        reply(429, {"error": {"message": "slow down"}}),
        reply(200, b"<html>"),
        lambda exchange: abort(exchange.connection),
    ],
    ids=["500", "429", "a page", "reset"],
)
def test_it_cannot_be_looked_for(connect: Any, path: Path, list_fails: Any) -> None:
    """The error says that the file may be there, and it is not sent again."""
    service = Service(list_fails=list_fails)
    with (
        RawServer(service) as server,
        connect(server) as hook,
        pytest.raises(AmbiguousUploadError, match=r"'a\.csv'\) may be there all the same"),
    ):
        hook.upload_container_file("cntr_1", path)
    assert 1 == service.posts


def test_the_container_is_gone(connect: Any, path: Path) -> None:
    """And the file with it."""
    with (
        RawServer(Service(list_fails=reply(404, GONE))) as server,
        connect(server) as hook,
        pytest.raises(ContainerGoneError),
    ):
        hook.upload_container_file("cntr_1", path)


@pytest.mark.parametrize("found", [True, False])
def test_completed_and_refused(connect: Any, monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    """A completion that is refused after one without an answer does not begin gigabytes anew."""
    monkeypatch.setattr("airflow_containers.api.models.MAX_FILE_BYTES", 1000)
    monkeypatch.setattr("airflow_containers.api.models.MAX_PART_BYTES", 1000)
    service = Parts(found=found)
    with RawServer(service) as server, connect(server) as hook:
        if found:
            assert "file-1" == hook.upload_file(BytesSource("a.bin", bytes(1500))).id
        else:
            with pytest.raises(AmbiguousUploadError) as caught:
                hook.upload_file(BytesSource("a.bin", bytes(1500)))
            assert isinstance(caught.value.__cause__, BadRequestError)
    assert (1, 2) == (service.begun, service.completed)
