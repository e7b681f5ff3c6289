"""What is sent for a create task, beside what the `openai` package sends for the same arguments."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from pydantic import SecretStr

from airflow_containers.api import AsyncContainersClient, ClientOptions, ContainersClient, DomainSecret
from airflow_containers.arguments import build_request

CONTAINER = {"id": "cntr_1", "object": "container", "created_at": 1, "status": "running", "name": "n"}
SIMPLE = {"domain": "api.example.com", "name": "TOKEN", "value": "value-1"}
QUOTES = {"domain": "data.example.org", "name": "_t2", "value": 'quote " backslash \\ line\nend é 🦆 \x00'}
ARCHIVE = {"type": "base64", "media_type": "application/zip", "data": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="}
INLINE = {"type": "inline", "name": "Report é", "description": 'Writes "reports"\n', "source": ARCHIVE}


def allowlist(*domains: str, **more: Any) -> dict[str, Any]:
    """A policy in the API's shape."""
    return {"network_policy": {"type": "allowlist", "allowed_domains": list(domains), **more}}


def minutes(number: int) -> dict[str, Any]:
    """An expiry in the API's shape."""
    return {"expires_after": {"anchor": "last_active_at", "minutes": number}}


def skill(skill_id: str, **more: str) -> dict[str, Any]:
    """A reference in the API's shape."""
    return {"type": "skill_reference", "skill_id": skill_id, **more}


# The arguments of a task beside `name`, and those of `openai` beside `name`.
ARGUMENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"name": "n" * 256}, {"name": "n" * 256}),
    ({"name": 'Bericht "é" 漢字 🦆 \\ </script>'}, {"name": 'Bericht "é" 漢字 🦆 \\ </script>'}),
    ({"name": 20260301}, {"name": "20260301"}),
    ({"memory_limit": "1g"}, {"memory_limit": "1g"}),
    ({"memory_limit": "4g"}, {"memory_limit": "4g"}),
    ({"memory_limit": "16g"}, {"memory_limit": "16g"}),
    ({"memory_limit": "64g"}, {"memory_limit": "64g"}),
    ({"expires_after": 1}, minutes(1)),
    ({"expires_after": "20"}, minutes(20)),
    ({"expires_after": timedelta(minutes=15)}, minutes(15)),
    ({"expires_after": {"minutes": 7}}, minutes(7)),
    ({"expires_after": {"anchor": "last_active_at", "minutes": "7"}}, minutes(7)),
    ({"expires_after": '{"minutes": 8}'}, minutes(8)),
    ({"file_ids": []}, {"file_ids": []}),
    ({"file_ids": ["file-1", "file-2", "file-1"]}, {"file_ids": ["file-1", "file-2", "file-1"]}),
    ({"file_ids": "['file-1']"}, {"file_ids": ["file-1"]}),
    ({"domains": []}, {"network_policy": {"type": "disabled"}}),
    ({"domains": "[]"}, {"network_policy": {"type": "disabled"}}),
    ({"domains": ["api.example.com"]}, allowlist("api.example.com")),
    (
        {"domains": ("API.Example.com.", "api.example.com", "data.example.org")},
        allowlist("api.example.com", "data.example.org"),
    ),
    ({"domains": ["bücher.example.com"]}, allowlist("xn--bcher-kva.example.com")),
    ({"domains": '["api.example.com"]'}, allowlist("api.example.com")),
    (
        {"domains": ["api.example.com"], "domain_secrets": [SIMPLE]},
        allowlist("api.example.com", domain_secrets=[SIMPLE]),
    ),
    (
        {"domains": ["api.example.com", "data.example.org"], "domain_secrets": [SIMPLE, QUOTES]},
        allowlist("api.example.com", "data.example.org", domain_secrets=[SIMPLE, QUOTES]),
    ),
    ({"skills": []}, {"skills": []}),
    ({"skills": ["skill_123"]}, {"skills": [skill("skill_123")]}),
    (
        {"skills": ["skill_123@2", "openai-spreadsheets@latest"]},
        {"skills": [skill("skill_123", version="2"), skill("openai-spreadsheets", version="latest")]},
    ),
    ({"skills": [skill("skill_123") | {"version": 3}]}, {"skills": [skill("skill_123", version="3")]}),
    ({"skills": [INLINE]}, {"skills": [INLINE]}),
    ({"skills": ["skill_1", INLINE]}, {"skills": [skill("skill_1"), INLINE]}),
    ({"skills": [INLINE | {"source": ARCHIVE | {"data": "AAAA" * 100_000}}]},) * 2,
    (
        {
            "name": "everything",
            "memory_limit": "4g",
            "expires_after": 10,
            "file_ids": ["file-1"],
            "domains": ["api.example.com"],
            "domain_secrets": [SIMPLE],
            "skills": ["skill_1@1", INLINE],
        },
        {
            "name": "everything",
            "memory_limit": "4g",
            "file_ids": ["file-1"],
            "skills": [skill("skill_1", version="1"), INLINE],
            **minutes(10),
            **allowlist("api.example.com", domain_secrets=[SIMPLE]),
        },
    ),
]


@dataclass
class Recorder:
    """Answers everything with a container, and keeps what came."""

    url: str
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def take(self) -> tuple[str, str, dict[str, str], bytes]:
        """The only request since the last call."""
        (request,) = self.requests
        self.requests.clear()
        return request


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """A server that records requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.requests.append((self.command, self.path, headers, body))
            answer = json.dumps(CONTAINER).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Recorder(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def client(recorder: Recorder) -> Iterator[ContainersClient]:
    """Our client."""
    with ContainersClient(ClientOptions(api_key="sk-1", base_url=recorder.url)) as made:
        yield made


@pytest.fixture(scope="module")
def peer(recorder: Recorder) -> Iterator[openai.OpenAI]:
    """The client of the `openai` package."""
    with openai.OpenAI(api_key="sk-1", base_url=recorder.url, max_retries=0) as made:
        yield made


def request_for(fields: dict[str, Any]) -> Any:
    """Our request for a task's arguments."""
    secrets = [
        DomainSecret(**secret | {"value": SecretStr(secret["value"])})
        for secret in fields.get("domain_secrets", ())
    ]
    return build_request(**{"name": "n", **fields, "domain_secrets": secrets})


def canonical(body: bytes) -> bytes:
    """The body with its keys in order: everything else must be the same."""
    return json.dumps(json.loads(body), sort_keys=True).encode()


@pytest.mark.parametrize(("fields", "arguments"), ARGUMENTS)
def test_body_is_that_of_openai(
    fields: dict[str, Any],
    arguments: dict[str, Any],
    client: ContainersClient,
    peer: openai.OpenAI,
    recorder: Recorder,
) -> None:
    """Method, path, content type and body are equal, and what was not set is not sent."""
    request = request_for(fields)
    client.create(request)
    method, path, headers, body = recorder.take()

    peer.containers.create(**{"name": "n", **arguments})
    their_method, their_path, their_headers, their_body = recorder.take()

    assert ("POST", "/v1/containers") == (their_method, their_path) == (method, path)
    assert "application/json" == their_headers["content-type"] == headers["content-type"]
    assert their_headers["authorization"] == headers["authorization"]
    assert canonical(their_body) == canonical(body)
    assert body == request.to_wire()
    assert {"name", *arguments} == json.loads(body).keys()


async def test_async_body_is_the_same(recorder: Recorder) -> None:
    """Both of our clients send the same bytes."""
    request = request_for(ARGUMENTS[-1][0])
    async with AsyncContainersClient(ClientOptions(api_key="sk-1", base_url=recorder.url)) as client:
        await client.create(request)

    method, path, headers, body = recorder.take()
    assert ("POST", "/v1/containers", "application/json") == (method, path, headers["content-type"])
    assert body == request.to_wire()


def test_none_is_not_set(client: ContainersClient, recorder: Recorder) -> None:
    """An argument that is None is not sent as null."""
    fields = dict.fromkeys(("domains", "skills", "file_ids", "memory_limit", "expires_after"))
    client.create(build_request(name="n", **fields))

    assert b'{"name":"n"}' == recorder.take()[-1]
