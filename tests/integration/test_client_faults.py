"""Both clients over real connections that fail in every way a connection can."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_containers.api import (
    AmbiguousCreateError,
    APIConnectionError,
    APITimeoutError,
    AsyncContainersClient,
    ClientOptions,
    ContainersClient,
    ContainersError,
    CreateContainerRequest,
    InvalidResponseError,
    RedirectError,
    ServerError,
)
from tests.support.raw_server import (
    Answer,
    Exchange,
    RawServer,
    abort,
    drip,
    endless,
    garbage,
    hang_up,
    head,
    reply,
    reset,
    reset_in_the_body,
    silence,
    truncated,
)

KEY = "sk-canary-5f2e91"
FOUND = reply(200, {"id": "cntr_1", "name": "report"})
SHORT = 1.0
"""Seconds that a call may take in the tests of timeouts; a busy machine connects within them."""
LONG = 30.0
"""Seconds that no call takes whose connection breaks."""

Operation = Callable[[Any], Any]
Call = Callable[..., Any]


def create(client: Any) -> Any:
    """The call that must not be repeated."""
    return client.create(CreateContainerRequest(name="report"))


def retrieve(client: Any) -> Any:
    """A call that may be repeated."""
    return client.retrieve("cntr_1")


def call_sync(base_url: str, operation: Operation, **options: Any) -> Any:
    """One call with the client for plain code."""
    with ContainersClient(ClientOptions(api_key=KEY, base_url=base_url, **options)) as client:
        return operation(client)


def call_async(base_url: str, operation: Operation, **options: Any) -> Any:
    """One call with the client for an event loop."""

    async def main() -> Any:
        async with AsyncContainersClient(ClientOptions(api_key=KEY, base_url=base_url, **options)) as client:
            return await operation(client)

    return asyncio.run(main())


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """A call with either client."""
    function: Call = request.param
    return function


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.01)


def failing(call: Call, server: RawServer, operation: Operation, **options: Any) -> ContainersError:
    """The error of a call."""
    with pytest.raises(ContainersError) as caught:
        call(server.base_url, operation, **options)
    assert KEY not in f"{caught.value!r}{caught.value.args}{vars(caught.value)}"
    return caught.value


@contextlib.contextmanager
def deaf_port() -> Iterator[tuple[socket.socket, str]]:
    """A port that is taken and refuses connections, until somebody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken, f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


class TestNoConnection:
    """What never reached a server may be sent again, a create too."""

    @pytest.mark.parametrize("operation", [create, retrieve])
    def test_refused(self, call: Call, operation: Operation, caplog: pytest.LogCaptureFixture) -> None:
        """Each attempt is refused; the error names the host and is one for Airflow's retries."""
        with deaf_port() as (_, base_url), pytest.raises(APIConnectionError) as caught:
            call(base_url, operation, max_retries=2)
        assert APIConnectionError is type(caught.value)
        assert "no connection to 127.0.0.1" in str(caught.value)
        assert caught.value.retryable is True
        assert 2 == len([record for record in caplog.records if "trying again" in record.getMessage()])

    def test_a_create_that_was_refused_is_sent_again(self, call: Call) -> None:
        """The server comes up between the attempts, and gets the request once."""
        server = RawServer(FOUND)
        logger = logging.getLogger("airflow_containers.api.client")
        with deaf_port() as (taken, base_url):

            class Listen(logging.Handler):
                def emit(self, record: logging.LogRecord) -> None:
                    taken.listen()
                    server._socket, closed = taken, server._socket
                    closed.close()
                    server.__enter__()

            handler = Listen()
            logger.addHandler(handler)
            try:
                container = call(base_url, create)
            finally:
                logger.removeHandler(handler)
                server.__exit__(None, None, None)
        assert "cntr_1" == container.id
        assert ["POST"] == [request.method for request in server.requests]

    def test_an_unknown_host(self, call: Call) -> None:
        """The name is told."""
        with pytest.raises(APIConnectionError, match=r"no connection to nowhere\.invalid: "):
            call("http://nowhere.invalid/v1", create, max_retries=0)

    def test_a_proxy_that_is_not_there(self, call: Call) -> None:
        """Its password is not told."""
        with deaf_port() as (_, base_url):
            proxy = base_url.replace("http://", f"http://user:{KEY}@").removesuffix("/v1")
            with pytest.raises(APIConnectionError) as caught:
                call("https://api.example.com/v1", create, max_retries=0, proxy=proxy)
        assert KEY not in repr(caught.value)

    @pytest.mark.parametrize("status", [403, 407, 502])
    def test_a_proxy_that_refuses(self, call: Call, status: int) -> None:
        """A create that a proxy did not let through was not sent, so it is tried again."""
        with RawServer(reply(status)) as proxy:
            where = f"http://user:{KEY}@127.0.0.1:{proxy.port}"
            with pytest.raises(
                APIConnectionError, match=rf"the proxy gave no connection .*{status}"
            ) as caught:
                call("https://api.example.com/v1", create, max_retries=1, proxy=where)
        assert APIConnectionError is type(caught.value)
        assert KEY not in repr(caught.value)
        assert ["CONNECT api.example.com:443"] * 2 == [f"{r.method} {r.target}" for r in proxy.requests]
        assert not any(b"report" in request.raw for request in proxy.requests)

    def test_a_plain_proxy_carries_the_request(self, call: Call) -> None:
        """Over http the proxy gets the request itself, so what fails there may have arrived."""
        with RawServer(FOUND) as proxy:
            assert (
                "cntr_1"
                == call("http://api.example.com/v1", create, proxy=f"http://127.0.0.1:{proxy.port}").id
            )
        assert "http://api.example.com/v1/containers" == proxy.requests[0].target
        with RawServer(reset) as proxy, pytest.raises(AmbiguousCreateError):
            call("http://api.example.com/v1", create, proxy=f"http://127.0.0.1:{proxy.port}")
        assert 1 == len(proxy.requests)


BROKEN: dict[str, Answer] = {
    "reset": reset,
    "closed": hang_up,
    "silence": silence,
    "no HTTP": garbage,
    "half a body": truncated({"id": "cntr_1", "name": "report"}),
    "reset in the body": reset_in_the_body,
    "half a head": lambda exchange: exchange.send(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "a broken chunk": lambda exchange: exchange.send(head(200, {"transfer-encoding": "chunked"}) + b"zz\r\n"),
    "no gzip": lambda exchange: exchange.send(
        head(200, {"content-encoding": "gzip", "content-length": "4"}) + b"text"
    ),
    "a page": reply(200, b"<html><title>Sign in</title></html>", {"content-type": "text/html"}),
    "half of JSON": reply(200, b'{"id": "cntr_1", "na'),
    "no id": reply(200, {"object": "container"}),
    "nothing": reply(200),
    "an empty success": reply(204),
}


class TestBrokenAnswers:
    """A request that arrived, and an answer that did not."""

    @pytest.mark.parametrize("kind", BROKEN)
    def test_a_create_is_sent_once(self, call: Call, kind: str) -> None:
        """It may have happened: the error has the name, and the server saw one request."""
        with RawServer(BROKEN[kind], FOUND) as server:
            error = failing(call, server, create, timeout=SHORT if kind == "silence" else LONG)
        assert AmbiguousCreateError is type(error)
        assert "report" == error.name
        assert "A container named 'report' may exist all the same" in str(error)
        assert [("POST", "/v1/containers")] == [(r.method, r.target) for r in server.requests]

    @pytest.mark.parametrize("kind", BROKEN)
    def test_a_retrieve_is_sent_again(self, call: Call, kind: str) -> None:
        """It succeeds with the next answer."""
        with RawServer(BROKEN[kind], FOUND) as server:
            timeout = SHORT if kind == "silence" else LONG
            assert "cntr_1" == call(server.base_url, retrieve, timeout=timeout).id
        assert ["GET", "GET"] == [request.method for request in server.requests]

    @pytest.mark.parametrize(
        ("kind", "expected", "words"),
        [
            ("reset", APIConnectionError, "the connection broke: "),
            ("closed", APIConnectionError, "the connection broke: "),
            ("silence", APITimeoutError, "no complete answer within 1 s"),
            ("no HTTP", APIConnectionError, "the connection broke: illegal status line"),
            ("half a body", APIConnectionError, "the connection broke: "),
            ("reset in the body", APIConnectionError, "the connection broke: "),
            ("half a head", APIConnectionError, "the connection broke: "),
            ("a broken chunk", APIConnectionError, "the connection broke: "),
            ("no gzip", APIConnectionError, "the answer's content encoding is broken"),
            ("a page", InvalidResponseError, "HTTP 200 with an HTML page (35 bytes), expected a Container"),
            ("half of JSON", InvalidResponseError, "HTTP 200 with a body that is not JSON (20 bytes)"),
            ("no id", InvalidResponseError, "HTTP 200 with a JSON object without a usable 'id'"),
            ("nothing", InvalidResponseError, "HTTP 200 with an empty body, expected a Container"),
            ("an empty success", InvalidResponseError, "HTTP 204 with an empty body, expected a Container"),
        ],
    )
    def test_the_error_says_what_happened(
        self, call: Call, kind: str, expected: type[Exception], words: str
    ) -> None:
        """Of a call that fails to the end: the class, and what a person reads."""
        timeout = SHORT if kind == "silence" else LONG
        with RawServer(BROKEN[kind]) as server:
            error = failing(call, server, retrieve, timeout=timeout, max_retries=0)
        assert expected is type(error)
        assert str(error).startswith(f"GET /containers/cntr_1: {words}")

    def test_reset_before_the_request_was_read(self, call: Call) -> None:
        """What the client cannot tell from "after" is treated like "after"."""

        def abort_unread(connection: socket.socket) -> None:
            connection.recv(1, socket.MSG_PEEK)
            abort(connection)

        with RawServer(FOUND, before=abort_unread) as server:
            error = failing(call, server, create)
        assert AmbiguousCreateError is type(error)
        assert 1 == server.connections

    def test_a_key_in_a_broken_answer_is_not_told(self, call: Call) -> None:
        """The HTTP library quotes the line it could not read; the line quotes the request."""

        def echo(exchange: Exchange) -> None:
            exchange.send(f"HTTP/1.1 {exchange.request.headers['authorization']}\r\n\r\n".encode())

        with RawServer(echo) as server:
            error = failing(call, server, retrieve, max_retries=0)
        assert "***" in str(error)


class TestTooMuchTooSlow:
    """An answer is bounded in time and in size."""

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_that_trickles(self, call: Call, chunked: bool) -> None:
        """No single read takes long, and the call ends all the same."""
        body = {"id": "cntr_1", "padding": "x" * 10_000}
        with RawServer(drip(body, every=0.05, chunked=chunked)) as server:
            error = failing(call, server, retrieve, timeout=SHORT, max_retries=0)
            assert APITimeoutError is type(error)
            assert "GET /containers/cntr_1: no complete answer within 1 s" == str(error)
            error = failing(call, server, create, timeout=SHORT)
            assert AmbiguousCreateError is type(error)
        assert ["GET", "POST"] == [request.method for request in server.requests]

    def test_a_head_that_trickles(self, call: Call) -> None:
        """Neither do headers without end hold a call for ever."""

        def answer(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\n")
            while not exchange.pause(0.05):
                exchange.send(b"x-more: yes\r\n")

        with RawServer(answer) as server:
            error = failing(call, server, retrieve, timeout=SHORT, max_retries=0)
            assert APITimeoutError is type(error)

    def test_a_compressed_body_that_trickles_without_content(self, call: Call) -> None:
        """Nor a stream that decompresses to nothing."""

        def answer(exchange: Exchange) -> None:
            # The name of a file in the header of a gzip stream has no limit, and is no content.
            exchange.send(head(200, {"content-encoding": "gzip"}) + b"\x1f\x8b\x08\x08\0\0\0\0\0\x03")
            while not exchange.pause(0.05):
                exchange.send(b"name")

        with RawServer(answer) as server:
            error = failing(call, server, retrieve, timeout=SHORT, max_retries=0)
            assert APITimeoutError is type(error)

    def test_a_slow_answer_that_is_in_time(self, call: Call) -> None:
        """A server may think for a while."""

        def answer(exchange: Exchange) -> None:
            exchange.pause(0.2)
            FOUND(exchange)

        with RawServer(answer) as server:
            assert "cntr_1" == call(server.base_url, create, timeout=5).id

    def test_a_body_without_end(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is given up at the limit, and not asked for again: it would be as long again."""
        monkeypatch.setattr("airflow_containers.api._http.MAX_ANSWER_BYTES", 1_000_000)
        with RawServer(endless) as server:
            error = failing(call, server, retrieve, timeout=30)
            assert "its answer (HTTP 200) has more than 1000000 bytes" in str(error)
            error = failing(call, server, create, timeout=30)
            assert AmbiguousCreateError is type(error)
        assert ["GET", "POST"] == [request.method for request in server.requests]


class TestStatuses:
    """Answers that ask for patience."""

    @pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
    def test_a_retrieve_succeeds_after_it(self, call: Call, status: int) -> None:
        """Each is tried again."""
        with RawServer(reply(status), reply(status), FOUND) as server:
            assert "cntr_1" == call(server.base_url, retrieve).id
        assert 3 == len(server.requests)

    def test_a_create_succeeds_after_429(self, call: Call) -> None:
        """A 429 made nothing, so the same request is sent again, after the pause it asks for."""
        with RawServer(reply(429, headers={"retry-after-ms": "10"}), FOUND) as server:
            assert "cntr_1" == call(server.base_url, create).id
        assert ["POST", "POST"] == [request.method for request in server.requests]
        assert server.requests[0].body == server.requests[1].body

    @pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
    def test_a_create_is_not_repeated_after_an_error_of_the_server(self, call: Call, status: int) -> None:
        """It may have happened before the error."""
        body = {"error": {"message": "Overloaded", "type": "server_error", "param": None, "code": None}}
        with RawServer(
            reply(status, body, {"x-request-id": "req_1", "x-should-retry": "true"}), FOUND
        ) as server:
            error = failing(call, server, create)
        assert AmbiguousCreateError is type(error)
        assert ("report", status, "req_1") == (error.name, error.status_code, error.request_id)
        assert 1 == len(server.requests)

    def test_x_should_retry_false(self, call: Call) -> None:
        """The service may know better."""
        with RawServer(reply(503, headers={"x-should-retry": "false"}), FOUND) as server:
            assert ServerError is type(failing(call, server, retrieve))
        assert 1 == len(server.requests)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("operation", [create, retrieve])
    def test_a_redirect_is_not_followed(self, call: Call, status: int, operation: Operation) -> None:
        """The place it points to receives nothing, the key least of all."""
        with RawServer(FOUND) as elsewhere:
            location = f"{elsewhere.base_url}/containers?key=x"
            with RawServer(reply(status, headers={"location": location})) as server:
                error = failing(call, server, operation)
            assert RedirectError is type(error)
            assert "It points to http://127.0.0.1/v1/containers and was not followed" in str(error)
        assert 0 == elsewhere.connections
        assert 1 == len(server.requests)

    def test_cookies_are_no_trouble(self, call: Call) -> None:
        """A gateway that sets cookies gets the next call."""
        with RawServer(reply(503, headers={"set-cookie": "a=b; Path=/"}), FOUND) as server:
            assert "cntr_1" == call(server.base_url, retrieve).id


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A TLS server's context for 127.0.0.1, and the CA bundle that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    bundle, private = folder / "ca.pem", folder / "key.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, private)
    return context, bundle


class TestTls:
    """Certificates."""

    def test_an_untrusted_certificate(self, call: Call, authority: tuple[ssl.SSLContext, Path]) -> None:
        """Nothing is sent, it is not tried again, and the message says which option helps."""
        with RawServer(FOUND, tls=authority[0]) as server:
            error = failing(call, server, create)
        assert APIConnectionError is type(error)
        expected = "POST /containers: TLS with 127.0.0.1 failed: "
        assert str(error).startswith(expected)
        assert str(error).endswith("; set verify to the CA bundle that signed it")
        assert (1, []) == (server.connections, server.requests)

    def test_a_ca_bundle_of_ones_own(self, call: Call, authority: tuple[ssl.SSLContext, Path]) -> None:
        """``verify`` with the path of the bundle."""
        with RawServer(FOUND, tls=authority[0]) as server:
            assert "cntr_1" == call(server.base_url, create, verify=str(authority[1])).id

    def test_no_verification(self, call: Call, authority: tuple[ssl.SSLContext, Path]) -> None:
        """``verify=False``, for whoever wants that."""
        with RawServer(FOUND, tls=authority[0]) as server:
            assert "cntr_1" == call(server.base_url, create, verify=False).id

    def test_another_name_than_the_certificates(
        self, call: Call, authority: tuple[ssl.SSLContext, Path]
    ) -> None:
        """A bundle that signed it is not enough."""
        with RawServer(FOUND, tls=authority[0]) as server:
            base_url = server.base_url.replace("127.0.0.1", "localhost")
            with pytest.raises(APIConnectionError, match=r"TLS with localhost failed: .*localhost"):
                call(base_url, create, verify=str(authority[1]))

    def test_a_server_without_tls(self, call: Call) -> None:
        """``https`` where ``http`` was meant."""
        with RawServer(
            lambda exchange: exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), before=speak
        ) as server:
            base_url = server.base_url.replace("http://", "https://")
            with pytest.raises(APIConnectionError, match=r"TLS with 127\.0\.0\.1 failed: "):
                call(base_url, create, max_retries=0)


def speak(connection: socket.socket) -> None:
    """Answer before anything was asked, as a plain server answers a TLS greeting."""
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
