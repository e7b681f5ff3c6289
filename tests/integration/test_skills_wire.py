"""What is sent for the Skills API, beside what the `openai` package sends for the same arguments."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from airflow_containers.api import (
    BytesSource,
    ClientOptions,
    ContainersClient,
    CreateContainerRequest,
    endpoints,
)
from airflow_containers.skills import pack_skill, packed_inline
from tests.support.skills import make_skill

ANSWER = {"id": "skill_1", "object": "list", "data": [], "has_more": False, "deleted": True, "version": "1"}
ZIP = ("report.zip", b"PK\x03\x04 zip", "application/zip")
FILES = [
    ("report/SKILL.md", b"---\n---\n", "text/markdown"),
    ("report/a b é\"'.csv", b"1,2", "text/csv"),
    ("report/scripts/run.py", b"", "text/x-python"),
]
SOURCE = BytesSource(*ZIP[:2])
SOURCES = [BytesSource(name, data) for name, data, _ in FILES]

Request = tuple[str, str, str, bytes]
CALLS: list[tuple[Any, Callable[[openai.OpenAI], Any]]] = [
    (endpoints.create_skill(SOURCE), lambda peer: peer.skills.create(files=ZIP)),
    (endpoints.create_skill(SOURCES), lambda peer: peer.skills.create(files=FILES)),
    (endpoints.list_skills(), lambda peer: peer.skills.list()),
    (
        endpoints.list_skills(after="skill_1", limit=5, order="asc"),
        lambda peer: peer.skills.list(after="skill_1", limit=5, order="asc"),
    ),
    (endpoints.retrieve_skill("skill_1"), lambda peer: peer.skills.retrieve("skill_1")),
    (
        endpoints.set_default_skill_version("skill_1", 2),
        lambda peer: peer.skills.update("skill_1", default_version="2"),
    ),
    (endpoints.delete_skill("skill_1"), lambda peer: peer.skills.delete("skill_1")),
    (
        endpoints.create_skill_version("skill_1", SOURCE),
        lambda peer: peer.skills.versions.create("skill_1", files=ZIP),
    ),
    (
        endpoints.create_skill_version("skill_1", SOURCE, default=True),
        lambda peer: peer.skills.versions.create("skill_1", files=ZIP, default=True),
    ),
    (
        endpoints.create_skill_version("skill_1", SOURCES, default=False),
        lambda peer: peer.skills.versions.create("skill_1", files=FILES, default=False),
    ),
    (
        endpoints.list_skill_versions("skill_1", after="skillver_1", limit=3, order="desc"),
        lambda peer: peer.skills.versions.list("skill_1", after="skillver_1", limit=3, order="desc"),
    ),
    (
        endpoints.retrieve_skill_version("skill_1", 2),
        lambda peer: peer.skills.versions.retrieve("2", skill_id="skill_1"),
    ),
    (
        endpoints.delete_skill_version("skill_1", 2),
        lambda peer: peer.skills.versions.delete("2", skill_id="skill_1"),
    ),
]


@pytest.fixture(scope="module")
def recorder() -> Iterator[tuple[str, list[Request]]]:
    """A server that answers everything, and keeps what came."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            requests.append((self.command, self.path, self.headers.get("content-type", ""), body))
            answer = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_DELETE = do_GET  # noqa: N815 - names of the standard library

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", requests
    server.shutdown()
    thread.join()
    server.server_close()


def normal(request: Request) -> Request:
    """A request with a boundary that is the same for all, and JSON without blanks."""
    method, path, kind, body = request
    boundary = re.search("boundary=(.+)", kind)
    if boundary:
        kind, body = kind.replace(boundary[1], "B"), body.replace(boundary[1].encode(), b"B")
    elif kind == "application/json" and body:
        body = json.dumps(json.loads(body), sort_keys=True).encode()
    # A request without a body has no need for a type.
    return method, path, kind if body else "", body


@pytest.mark.parametrize(("call", "theirs"), CALLS, ids=[str(call) for call, _ in CALLS])
def test_requests_are_those_of_openai(
    call: Any, theirs: Callable[[openai.OpenAI], Any], recorder: tuple[str, list[Request]]
) -> None:
    """Method, path, query, content type and body are equal but for the boundary."""
    url, requests = recorder
    requests.clear()
    with openai.OpenAI(api_key="sk-1", base_url=url, max_retries=0) as peer:
        theirs(peer)
    with ContainersClient(ClientOptions(api_key="sk-1", base_url=url)) as client:
        client.send(call)

    one, two = map(normal, requests)
    assert one == two


@pytest.mark.parametrize("version", [None, 2])
def test_downloads_are_those_of_openai(
    version: int | None, recorder: tuple[str, list[Request]], tmp_path: Path
) -> None:
    """A zip is asked for at the same place."""
    url, requests = recorder
    requests.clear()
    with openai.OpenAI(api_key="sk-1", base_url=url, max_retries=0) as peer:
        if version is None:
            peer.skills.content.retrieve("skill_1")
        else:
            peer.skills.versions.content.retrieve(str(version), skill_id="skill_1")
    call = (
        endpoints.skill_content("skill_1")
        if version is None
        else endpoints.skill_version_content("skill_1", version)
    )
    with ContainersClient(ClientOptions(api_key="sk-1", base_url=url)) as client:
        client.download(call, tmp_path / "zip")

    one, two = map(normal, requests)
    assert one == two


def test_inline_folder_is_sent_as_openai_sends_its_zip(
    recorder: tuple[str, list[Request]], tmp_path: Path
) -> None:
    """A folder that is encoded while it is sent arrives as the zip that a script encodes before."""
    url, requests = recorder
    requests.clear()
    folder = make_skill(tmp_path / "report", {"data": bytes(range(256)) * 4000})
    pack_skill(folder, tmp_path / "report.zip")
    source = {
        "type": "base64",
        "media_type": "application/zip",
        "data": base64.b64encode((tmp_path / "report.zip").read_bytes()).decode(),
    }
    inline: Any = {
        "type": "inline",
        "name": "report",
        "description": "Makes reports.",
        "source": source,
    }
    with openai.OpenAI(api_key="sk-1", base_url=url, max_retries=0) as peer:
        peer.containers.create(name="n", skills=[inline])
    with (
        ContainersClient(ClientOptions(api_key="sk-1", base_url=url)) as client,
        packed_inline(folder) as skill,
    ):
        client.create(CreateContainerRequest(name="n", skills=[skill]))

    one, two = map(normal, requests)
    assert one == two
