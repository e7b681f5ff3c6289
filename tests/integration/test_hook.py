"""The hook against servers: the local one, and others that are wrong in every way a base URL can be."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_containers.api import ContainerGoneError, CreateContainerRequest
from airflow_containers.hooks.container import ContainerHook
from airflow_containers.testing import LocalServer

KEY = "sk-canary-integration-5e0a"

EMPTY_PAGE = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that gives one answer to everything; returns its URL."""
    with ExitStack() as stack:

        def start(
            status: int,
            body: bytes | dict[str, Any],
            headers: dict[str, str] | None = None,
            context: ssl.SSLContext | None = None,
            seen: list[dict[str, str]] | None = None,
        ) -> str:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    if seen is not None:
                        seen.append({name.lower(): value for name, value in self.headers.items()})
                    self.send_response(status)
                    for name, value in (headers or {}).items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

                def log_message(self, *_: Any) -> None:
                    """Keep quiet."""

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            if context is not None:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/v1"

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with the key and the self-signed certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def hook_to(monkeypatch: pytest.MonkeyPatch, host: str, password: str = KEY, **extra: Any) -> ContainerHook:
    """Return a hook for a connection to `host`."""
    connection = {"conn_type": "openai_containers", "host": host, "password": password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(connection))
    return ContainerHook("tested")


def failure(hook: ContainerHook) -> str:
    """Return the message of a connection test that must fail, without a secret in it."""
    works, message = hook.test_connection()
    assert not works
    assert KEY not in message
    return message


def refused(message: str, **fields: Any) -> dict[str, Any]:
    """Return an error body of the API."""
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    }


def test_lifecycle(containers_connection: str) -> None:
    """Create, look, list and delete through a connection."""
    hook = ContainerHook(containers_connection)
    made = [hook.create_container(CreateContainerRequest(name=f"report-{number}")) for number in range(3)]
    assert made[0].id == hook.retrieve_container(made[0].id).id
    page = hook.list_containers(limit=2, order="asc")
    assert [container.id for container in made[:2]] == [container.id for container in page.data]
    rest = hook.list_containers(after=page.data[-1].id, order="asc")
    assert [made[2].id] == [container.id for container in rest.data]
    assert [made[1].id] == [container.id for container in hook.list_containers(name="report-1").data]
    ids = [container.id for container in hook.iterate_containers(order="asc", limit=1)]
    assert [container.id for container in made] == ids
    for container in made:
        assert hook.delete_container(container.id).deleted
    with pytest.raises(ContainerGoneError):
        hook.delete_container(made[0].id)
    assert hook.dashboard_url(made[0].id) is None
    hook.close()


async def test_async_lifecycle(containers_connection: str) -> None:
    """The async client of the same connection does the same."""
    async with await ContainerHook(containers_connection).get_async_conn() as client:
        container = await client.create(CreateContainerRequest(name="report"))
        assert [container.id] == [each.id async for each in client.iterate(name="report")]
        assert (await client.delete(container.id)).deleted


def test_connection_works(containers_server: LocalServer, containers_connection: str) -> None:
    """A good connection says where it leads; the test reads once and changes nothing."""
    containers_server.clear_requests()
    expected = (True, f"Connected to {containers_server.base_url}: the key may list containers.")
    assert expected == ContainerHook(containers_connection).test_connection()
    (entry,) = containers_server.requests()
    assert (entry.method, entry.path, entry.query) == ("GET", "/v1/containers", {"limit": "1"})


@pytest.mark.airflow("3.3")
def test_unsaved_connection(containers_server: LocalServer) -> None:
    """Airflow's test button hands over a connection that no database has."""
    connection = Connection(
        conn_id="unsaved", conn_type="openai_containers", host=containers_server.base_url, password=KEY
    )
    expected = (True, f"Connected to {containers_server.base_url}: the key may list containers.")
    assert expected == connection.test_connection()


def test_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that knows keys refuses another one."""
    with LocalServer(api_key="sk-the-right-one") as server:
        message = failure(hook_to(monkeypatch, server.base_url))
        assert message.startswith(f"Wrong API key: {server.base_url} does not accept the password")
        works, _ = hook_to(monkeypatch, server.base_url, "sk-the-right-one").test_connection()
        assert works


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "You have insufficient permissions for this operation. Missing scopes: api.containers.read."),
        (403, "You may not do this."),
    ],
)
def test_no_permission(monkeypatch: pytest.MonkeyPatch, serve: Serve, status: int, text: str) -> None:
    """A restricted key is told apart from a wrong one."""
    message = failure(hook_to(monkeypatch, serve(status, refused(text))))
    assert message.startswith("No permission: ")
    assert text.rstrip(".") in message


HTML = b"<!doctype html><html><head><title>Welcome</title></head></html>"


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, HTML, {"content-type": "text/html"}),
        (200, b"", {}),
        (200, b"[]", {}),
        (404, HTML, {"content-type": "text/html"}),
        (404, refused("Invalid URL (GET /containers)"), {}),
        (301, b"", {"location": "https://login.example.com/?next=containers"}),
        (307, b"", {"location": "/elsewhere"}),
    ],
)
def test_wrong_url(
    monkeypatch: pytest.MonkeyPatch,
    serve: Serve,
    status: int,
    body: bytes | dict[str, Any],
    headers: dict[str, str],
) -> None:
    """A web site, a redirect or another API behind the URL is a wrong URL."""
    url = serve(status, body, headers)
    assert failure(hook_to(monkeypatch, url)).startswith(f"Wrong base URL: what answers at {url} is not")


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    message = failure(hook_to(monkeypatch, f"http://127.0.0.1:{port}/v1"))
    assert message.startswith(f"Unreachable: there is no connection to http://127.0.0.1:{port}/v1.")


def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserved top-level domain never resolves (RFC 6761)."""
    message = failure(hook_to(monkeypatch, "https://containers.invalid/v1"))
    assert message.startswith("Unreachable: there is no connection to https://containers.invalid/v1.")


def test_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing runs into the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        message = failure(hook_to(monkeypatch, url, timeout=0.2))
    assert message.startswith(f"Unreachable: {url} does not answer in time.")


def test_tls_to_a_plain_server(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """A host without a scheme means https; the message says how to ask for http."""
    url = serve(200, {})
    message = failure(hook_to(monkeypatch, url.removeprefix("http://")))
    assert message.startswith("Unreachable: there is no connection to https://127.0.0.1")
    assert "needs 'http://' in the host" in message
    assert "TLS" in message


def test_certificates(monkeypatch: pytest.MonkeyPatch, serve: Serve, certificate: Path) -> None:
    """An unknown certificate is refused; `verify` takes its CA bundle, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url = serve(200, EMPTY_PAGE, context=context)
    message = failure(hook_to(monkeypatch, url))
    assert message.startswith("Unreachable: ")
    assert "verify" in message
    for verify in (str(certificate), False, "false"):
        works, message = hook_to(monkeypatch, url, verify=verify).test_connection()
        assert works, message


@pytest.mark.parametrize(
    ("status", "code", "start"),
    [
        (429, None, "The API key works at "),
        (429, "insufficient_quota", "The API key works at "),
        (500, None, "http://127.0.0.1"),
        (418, None, "http://127.0.0.1"),
    ],
)
def test_other_answers(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, status: int, code: str | None, start: str
) -> None:
    """Trouble that the connection is not to blame for is not blamed on it, and asked about once."""
    message = failure(hook_to(monkeypatch, serve(status, refused("Sorry.", code=code)), max_retries=10))
    assert message.startswith(start)
    assert "Sorry" in message


def test_an_echoed_key_is_not_shown(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """Some services quote the key that they refuse."""
    url = serve(401, refused(f"Incorrect API key provided: {KEY}."))
    assert "Incorrect API key provided: ***" in failure(hook_to(monkeypatch, url))


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, {"authorization": f"Bearer {KEY}", "api-key": None}),
        ({"auth": "api-key"}, {"authorization": None, "api-key": KEY}),
        (
            {"organization": "org-1", "project": "proj_1", "headers": {"X-Team": "data"}},
            {"openai-organization": "org-1", "openai-project": "proj_1", "x-team": "data"},
        ),
    ],
)
def test_extras_reach_the_wire(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, extra: dict[str, Any], expected: dict[str, str | None]
) -> None:
    """What the connection says about headers is what the server gets."""
    seen: list[dict[str, str]] = []
    hook = hook_to(monkeypatch, serve(200, EMPTY_PAGE, seen=seen), **extra)
    hook.list_containers()
    hook.close()
    (headers,) = seen
    assert expected == {name: headers.get(name) for name in expected}


def test_proxy_is_used(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """Requests go to the proxy, with its credentials, and not to the host."""
    seen: list[dict[str, str]] = []
    proxy = serve(200, EMPTY_PAGE, seen=seen).removesuffix("/v1")
    hook = hook_to(
        monkeypatch, "http://containers.invalid/v1", proxy=proxy.replace("http://", "http://me:secret-word@")
    )
    works, message = hook.test_connection()
    assert works, message
    (headers,) = seen
    assert headers["host"] == "containers.invalid"
    assert headers["proxy-authorization"].startswith("Basic ")
