"""What is sent for files, beside what the `openai` package sends for the same."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import openai
import pytest

from airflow_containers.api import (
    AsyncContainersClient,
    BytesSource,
    ClientOptions,
    ContainersClient,
    PathSource,
    endpoints,
)
from airflow_containers.api.endpoints import Call

OBJECT = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "data": [], "has_more": False}
LARGE = bytes(range(256)) * 4000
NAMES = ["report.csv", "a/b.txt", 'q"uote\\ b\r\nc.json', "é漢🦆.png", "noextension", "a%22b", "x\x1by"]


@dataclass
class Sent:
    """One request, with what chance decides taken out."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str | None
    accept: str
    body: Any = field(repr=False)


@dataclass
class Recorder:
    """Answers everything alike, and keeps what came."""

    url: str
    requests: list[Sent] = field(default_factory=list)

    def take(self) -> Sent:
        """The only request since the last call."""
        (request,) = self.requests
        self.requests.clear()
        return request


def normal(content_type: str | None, body: bytes) -> tuple[str | None, Any]:
    """Content type and body without the boundary, or with the keys of the JSON in order."""
    if content_type is None or not body:
        # The package names a content type also where there is no content.
        return None, body
    kind, _, boundary = content_type.partition("; boundary=")
    if kind == "multipart/form-data":
        return kind, body.replace(boundary.encode(), b"BOUNDARY")
    return kind, json.dumps(json.loads(body), sort_keys=True)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """A server that records requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = self.headers.get("content-length")
            assert self.headers.get("transfer-encoding") is None
            body = self.rfile.read(int(length or 0))
            url = urlsplit(self.path)
            content_type, content = normal(self.headers.get("content-type"), body)
            accept = self.headers.get("accept", "")
            query = dict(parse_qsl(url.query))
            found.requests.append(Sent(self.command, url.path, query, content_type, accept, content))
            answer = json.dumps(OBJECT).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that the library asks for

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Recorder(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def peer(recorder: Recorder) -> Iterator[openai.OpenAI]:
    """The client of the `openai` package."""
    with openai.OpenAI(api_key="sk-1", base_url=recorder.url, max_retries=0) as made:
        yield made


Theirs = Callable[[openai.OpenAI], Any]
PAIRS: dict[str, tuple[Call[Any], Theirs]] = {
    **{
        f"upload of {name!r}": (
            endpoints.create_container_file("cntr_1", BytesSource(name, b"1,2\r\n")),
            lambda peer, name=name: peer.containers.files.create("cntr_1", file=(name, b"1,2\r\n")),
        )
        for name in NAMES
    },
    "an empty upload": (
        endpoints.create_container_file("cntr_1", BytesSource("a", b"")),
        lambda peer: peer.containers.files.create("cntr_1", file=("a", b"")),
    ),
    "a large upload": (
        endpoints.create_container_file("cntr_1", BytesSource("a.bin", LARGE)),
        lambda peer: peer.containers.files.create("cntr_1", file=("a.bin", LARGE)),
    ),
    "a copy": (
        endpoints.copy_file_into_container("cntr_1", "file-1"),
        lambda peer: peer.containers.files.create("cntr_1", file_id="file-1"),
    ),
    "a list": (
        endpoints.list_container_files("cntr_1"),
        lambda peer: peer.containers.files.list("cntr_1"),
    ),
    "a page": (
        endpoints.list_container_files("cntr_1", after="cfile_1", limit=7, order="asc"),
        lambda peer: peer.containers.files.list("cntr_1", after="cfile_1", limit=7, order="asc"),
    ),
    "retrieve": (
        endpoints.retrieve_container_file("cntr_1", "cfile_1"),
        lambda peer: peer.containers.files.retrieve("cfile_1", container_id="cntr_1"),
    ),
    "delete": (
        endpoints.delete_container_file("cntr_1", "cfile_1"),
        lambda peer: peer.containers.files.delete("cfile_1", container_id="cntr_1"),
    ),
    "content": (
        endpoints.container_file_content("cntr_1", "cfile_1"),
        lambda peer: peer.containers.files.content.retrieve("cfile_1", container_id="cntr_1"),
    ),
    "a file": (
        endpoints.create_file(BytesSource("a.pdf", b"x")),
        lambda peer: peer.files.create(file=("a.pdf", b"x"), purpose="user_data"),
    ),
    "a file that expires": (
        endpoints.create_file(BytesSource("a.jsonl", b"x"), purpose="batch", expires_after=3600),
        lambda peer: peer.files.create(
            file=("a.jsonl", b"x"),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        ),
    ),
    "files": (endpoints.list_files(), lambda peer: peer.files.list()),
    "a page of files": (
        endpoints.list_files(after="file-1", limit=10_000, order="desc", purpose="user_data"),
        lambda peer: peer.files.list(after="file-1", limit=10_000, order="desc", purpose="user_data"),
    ),
    "a file's state": (endpoints.retrieve_file("file-1"), lambda peer: peer.files.retrieve("file-1")),
    "a file's end": (endpoints.delete_file("file-1"), lambda peer: peer.files.delete("file-1")),
    "a file's content": (endpoints.file_content("file-1"), lambda peer: peer.files.content("file-1")),
    "an upload": (
        endpoints.create_upload("a.jsonl", 5, purpose="batch", expires_after=3600),
        lambda peer: peer.uploads.create(
            bytes=5,
            filename="a.jsonl",
            mime_type=endpoints.create_upload("a.jsonl", 5).body.mime_type,  # type: ignore[union-attr]
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        ),
    ),
    "a part": (
        endpoints.add_upload_part("upload_1", BytesSource("upload", b"abc")),
        lambda peer: peer.uploads.parts.create("upload_1", data=b"abc"),
    ),
    "complete": (
        endpoints.complete_upload("upload_1", ["part_1", "part_2"]),
        lambda peer: peer.uploads.complete("upload_1", part_ids=["part_1", "part_2"]),
    ),
    "complete with a checksum": (
        endpoints.complete_upload("upload_1", ["part_1"], md5="0" * 32),
        lambda peer: peer.uploads.complete("upload_1", part_ids=["part_1"], md5="0" * 32),
    ),
    "cancel": (endpoints.cancel_upload("upload_1"), lambda peer: peer.uploads.cancel("upload_1")),
}


def send_sync(url: str, call: Call[Any], target: Path) -> None:
    """With the client for plain code."""
    with ContainersClient(ClientOptions(api_key="sk-1", base_url=url)) as client:
        if call.path.endswith("/content"):
            client.download(call, target, expected_bytes=len(json.dumps(OBJECT)))
        else:
            client.send(call)


def send_async(url: str, call: Call[Any], target: Path) -> None:
    """With the client for an event loop."""

    async def main() -> None:
        async with AsyncContainersClient(ClientOptions(api_key="sk-1", base_url=url)) as client:
            if call.path.endswith("/content"):
                await client.download(call, target, expected_bytes=len(json.dumps(OBJECT)))
            else:
                await client.send(call)

    asyncio.run(main())


@pytest.mark.parametrize("send", [send_sync, send_async])
@pytest.mark.parametrize("what", PAIRS)
def test_it_is_what_openai_sends(
    what: str, send: Any, peer: openai.OpenAI, recorder: Recorder, tmp_path: Path
) -> None:
    """Method, path, query, content type and body, the form's names, order and quoting among them."""
    call, theirs = PAIRS[what]
    send(recorder.url, call, tmp_path / "out")
    ours = recorder.take()
    theirs(peer)
    other = recorder.take()
    assert other.accept == ours.accept or not what.endswith("content")
    other.accept = ours.accept
    assert other == ours


def test_a_path_is_what_openai_makes_of_it(peer: openai.OpenAI, recorder: Recorder, tmp_path: Path) -> None:
    """The last part of the path is the name, and the content type is guessed of it."""
    path = tmp_path / "my report.csv"
    path.write_bytes(LARGE)
    send_sync(recorder.url, endpoints.create_container_file("cntr_1", PathSource(path)), tmp_path)
    ours = recorder.take()
    peer.containers.files.create("cntr_1", file=path)
    other = recorder.take()
    assert b'filename="my report.csv"\r\nContent-Type: text/csv\r\n\r\n' in ours.body
    assert other.body == ours.body
