"""From an HTTP answer to a model or to the error it amounts to, through both clients."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from airflow_containers.api import (
    AmbiguousCreateError,
    APIStatusError,
    AsyncContainersClient,
    AuthenticationError,
    BadRequestError,
    ClientOptions,
    ConflictError,
    ContainerGoneError,
    ContainersClient,
    ContainersError,
    CreateContainerRequest,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RedirectError,
    ServerError,
    validate,
)

BASE_URL = "https://api.example.com/v1"
REQUEST = CreateContainerRequest(name="report")
Handler = Callable[[httpx.Request], httpx.Response]

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "create": lambda client: client.create(REQUEST),
    "retrieve": lambda client: client.retrieve("cntr_1"),
    "list": lambda client: client.list(),
    "delete": lambda client: client.delete("cntr_1"),
}
LINES = {
    "create": "POST /containers",
    "retrieve": "GET /containers/cntr_1",
    "list": "GET /containers",
    "delete": "DELETE /containers/cntr_1",
}


def run_sync(handler: Handler, operation: Callable[[Any], Any], options: ClientOptions) -> Any:
    """One call with the client for plain code."""
    with ContainersClient(options, transport=httpx.MockTransport(handler)) as client:
        return operation(client)


def run_async(handler: Handler, operation: Callable[[Any], Any], options: ClientOptions) -> Any:
    """One call with the client for an event loop."""

    async def main() -> Any:
        async with AsyncContainersClient(options, transport=httpx.MockTransport(handler)) as client:
            return await operation(client)

    return asyncio.run(main())


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A call with either client."""
    runner: Callable[..., Any] = request.param
    return runner


def options(**changes: Any) -> ClientOptions:
    """Options without retries."""
    return ClientOptions(**{"api_key": "sk-1", "base_url": BASE_URL, "max_retries": 0, **changes})


def refused(
    status: int, body: Any = b"", headers: dict[str, str] | None = None, operation: str = "retrieve"
) -> Any:
    """The error that an answer amounts to."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content, headers=headers)

    with pytest.raises(ContainersError) as caught:
        run_sync(handler, OPERATIONS[operation], options())
    return caught.value


def envelope(message: Any, **fields: Any) -> dict[str, Any]:
    """The API's error body."""
    whole = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    return {"error": whole}


class TestErrorClasses:
    """Status and body decide the class; the class says what to do."""

    @pytest.mark.parametrize(
        ("operation", "status", "message", "expected"),
        [
            ("retrieve", 404, "Container with id 'cntr_1' not found.", ContainerGoneError),
            ("delete", 404, "Container with id 'cntr_1' not found.", ContainerGoneError),
            ("retrieve", 400, "Container is expired.", ContainerGoneError),
            ("delete", 400, "Container is expired.", ContainerGoneError),
            ("retrieve", 410, "container is EXPIRED", ContainerGoneError),
            ("retrieve", 404, "No such container", ContainerGoneError),
            ("list", 404, "No such project", NotFoundError),
            ("create", 404, "No such project", NotFoundError),
            ("retrieve", 404, "Invalid URL (GET /v1/v1/containers/cntr_1)", NotFoundError),
            ("retrieve", 400, "There was an issue with your request.", BadRequestError),
            ("create", 400, "Expected a value <= 20", BadRequestError),
            ("create", 413, "Too large", BadRequestError),
            ("create", 418, "I am a teapot", BadRequestError),
            ("create", 422, "Unprocessable", BadRequestError),
            ("list", 401, "Incorrect API key provided: sk-***1.", AuthenticationError),
            (
                "list",
                401,
                "You have insufficient permissions for this operation. Missing scopes: api.containers.read.",
                PermissionDeniedError,
            ),
            ("list", 401, "Missing scopes: x", PermissionDeniedError),
            ("create", 403, "Project does not have access", PermissionDeniedError),
            ("retrieve", 408, "Timeout", ServerError),
            ("retrieve", 409, "Busy", ConflictError),
            ("create", 429, "Rate limit reached", RateLimitError),
            ("retrieve", 500, "The server had an error", ServerError),
            ("list", 502, "Bad gateway", ServerError),
            ("delete", 529, "Overloaded", ServerError),
            ("create", 408, "Timeout", AmbiguousCreateError),
            ("create", 409, "Busy", AmbiguousCreateError),
            ("create", 499, "Client closed the request", AmbiguousCreateError),
            ("create", 500, "The server had an error", AmbiguousCreateError),
            ("create", 503, "Overloaded", AmbiguousCreateError),
        ],
    )
    def test_by_status_and_message(
        self, operation: str, status: int, message: str, expected: type[Exception]
    ) -> None:
        """The observed messages of the service, and the statuses around them."""
        error = refused(status, envelope(message), operation=operation)
        assert expected is type(error)
        assert str(error).startswith(f"{LINES[operation]}: HTTP {status}: {message}")

    @pytest.mark.parametrize(
        "fields",
        [
            {"code": "insufficient_quota"},
            {"type": "insufficient_quota"},
            {"code": "credit_balance_exhausted", "type": "billing"},
            {"code": None, "type": "billing_hard_limit_reached"},
        ],
        ids=repr,
    )
    def test_a_spent_quota(self, fields: dict[str, Any]) -> None:
        """A 429 that names a spent quota is another error: waiting does not help."""
        error = refused(429, envelope("You exceeded your current quota", **fields), operation="create")
        assert QuotaExceededError is type(error)
        assert error.retryable is False
        assert str(error).endswith(
            "Waiting does not help: check the plan, the budget or the credit of the account"
        )

    def test_fields_are_kept(self) -> None:
        """What the service said is there for code, not only for people."""
        body = envelope(
            "Invalid 'expires_after.minutes'", param="expires_after.minutes", code="integer_above_max_value"
        )
        error = refused(400, body, {"x-request-id": "req_123"}, operation="create")
        assert isinstance(error, APIStatusError)
        expected = (
            400,
            "Invalid 'expires_after.minutes'",
            "invalid_request_error",
            "expires_after.minutes",
            "integer_above_max_value",
            "req_123",
            None,
        )
        found = (
            error.status_code,
            error.detail,
            error.type,
            error.param,
            error.code,
            error.request_id,
            error.retry_after,
        )
        assert expected == found

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422, 429, 500])
    @pytest.mark.parametrize("header", ["x-request-id", "apim-request-id"])
    def test_every_message_carries_the_request_id(self, status: int, header: str) -> None:
        """Support asks for it; Azure calls it otherwise."""
        error = refused(status, envelope("m"), {header: "req_123"})
        assert "(request id req_123)" in str(error)
        assert "req_123" == error.request_id
        ambiguous = refused(500, envelope("m"), {header: "req_123"}, operation="create")
        assert "(request id req_123)" in str(ambiguous)
        assert "req_123" == ambiguous.request_id

    def test_an_unreadable_success_carries_the_request_id_too(self) -> None:
        """An answer that is none of this API is reported with where it came from."""
        for operation in ("create", "retrieve"):
            error = refused(200, b"<html>", {"x-request-id": "req_123"}, operation=operation)
            assert "(request id req_123)" in str(error)
            assert ("req_123", 200) == (error.request_id, error.status_code)

    @pytest.mark.parametrize(
        ("code", "expected"), [(404, "404"), ("x", "x"), (None, None), ([], None), (True, None), (1.5, None)]
    )
    def test_codes_of_other_servers(self, code: Any, expected: str | None) -> None:
        """Some gateways send a number as the code."""
        assert expected == refused(400, envelope("m", code=code)).code

    @pytest.mark.parametrize(
        ("seconds", "expected"), [("7", 7.0), ("300", 300.0), ("nan", None), ("-1", 0.0), ("soon", None)]
    )
    def test_retry_after_is_kept(self, seconds: str, expected: float | None) -> None:
        """What the service asked for, for a retry policy of Airflow to use."""
        assert expected == refused(429, envelope("m"), {"retry-after": seconds}).retry_after

    def test_azures_envelope(self) -> None:
        """More members than the API's, and nulls, are no trouble."""
        body = {
            "error": {
                "code": None,
                "message": "Resource not found",
                "details": [{"code": "x"}],
                "additionalInfo": None,
                "innererror": {},
                "debugInfo": {"type": "trace"},
            }
        }
        error = refused(404, body, {"apim-request-id": "a-1"})
        expected = "GET /containers/cntr_1: HTTP 404: Resource not found (request id a-1). The base URL"
        assert NotFoundError is type(error)
        assert str(error).startswith(expected)

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"detail": "Not Found"}, NotFoundError),
            ({"message": "no Route matched with those values"}, NotFoundError),
            (
                {"error": {"code": "DeploymentNotFound", "message": "The deployment is not there."}},
                NotFoundError,
            ),
            ({"error": {"message": "Invalid URL (GET /v2/containers/cntr_1)"}}, NotFoundError),
            ({"error": {"message": "Container with id 'cntr_1' not found."}}, ContainerGoneError),
            ({"error": {"message": "No such container."}}, ContainerGoneError),
        ],
    )
    def test_only_a_404_about_the_container_says_that_it_is_gone(
        self, body: dict[str, Any], expected: type[Exception]
    ) -> None:
        """A wrong base URL is not taken for a deleted container, which would stay alive."""
        assert expected is type(refused(404, body, {}))


class TestBodies:
    """Bodies that are no error of this API."""

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"", "an empty body"),
            (b" \n", "an empty body"),
            (b"upstream connect error", "a body that is not JSON (22 bytes)"),
            (b'{"error": {"message": "Contai', "a body that is not JSON (29 bytes)"),
            (b"<html><body>502</body></html>", "an HTML page (29 bytes)"),
            (
                b"<html><TITLE class='x'>502  Bad\nGateway</TITLE></html>",
                "an HTML page titled '502 Bad Gateway'",
            ),
            (b"<title>It&#39;s down &amp; out</title>", 'an HTML page titled "It\'s down & out"'),
            (b"<title></title>", "an HTML page (15 bytes)"),
            (b"[]", "a JSON list instead of an object"),
            (b"null", "a JSON NoneType instead of an object"),
            (b'"oops"', "a JSON str instead of an object"),
            (b"{}", "no error message"),
            (b'{"error": null}', "no error message"),
            (b'{"error": []}', "no error message"),
            (b'{"error": {"message": null}}', "no error message"),
            (b'{"error": {"message": ""}}', "no error message"),
            (b'{"error": "overloaded"}', "overloaded"),
            (b'{"message": "no route"}', "no route"),
            (b'{"detail": "Not authenticated"}', "Not authenticated"),
            (b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', "no error message"),
            (b'\xef\xbb\xbf{"error": {"message": "with a mark"}}', "with a mark"),
            (b'{"error": {"message": "\\ud800"}}', "?"),
            (b"\xff\xfe\xfa", "a body that is not JSON (3 bytes)"),
            (b"[" * 100_000, "a body that is not JSON (100000 bytes)"),
            (b'{"error": {"message": "' + b"m" * 10_000 + b'"}}', "m" * 500 + "…"),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    def test_of_an_error(self, body: bytes, expected: str) -> None:
        """The message says what came instead of an error message."""
        error = refused(502, body)
        assert f"GET /containers/cntr_1: HTTP 502: {expected}" == str(error)

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"", "an empty body"),
            (b"ok", "a body that is not JSON (2 bytes)"),
            (b"<!doctype html><title>Login</title>", "an HTML page (35 bytes)"),
            (b'{"id": "cntr_1", "na', "a body that is not JSON (20 bytes)"),
            (b"[]", "a JSON list instead of an object"),
            (b"{}", "a JSON object without a usable 'id'"),
            (b'{"id": null}', "a JSON object without a usable 'id'"),
            (b"[" * 100_000, "a body that is not JSON (100000 bytes)"),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    def test_of_a_success(self, body: bytes, expected: str) -> None:
        """A 200 that is no container is an error; of a create, an ambiguous one, with the name."""
        error = refused(200, body)
        message = f"GET /containers/cntr_1: HTTP 200 with {expected}, expected a Container"
        assert (InvalidResponseError, message) == (type(error), str(error))
        error = refused(200, body, operation="create")
        assert AmbiguousCreateError is type(error)
        assert "report" == error.name
        assert str(error).startswith(f"POST /containers: HTTP 200 with {expected}, expected a Container. ")
        assert "A container named 'report' may exist all the same" in str(error)

    @pytest.mark.parametrize("body", [b"", b" ", b"{}", b'{"deleted": "yes", "id": 5}'])
    @pytest.mark.parametrize("status", [200, 202, 204])
    def test_a_delete_needs_no_body(self, run: Callable[..., Any], status: int, body: bytes) -> None:
        """The official client does not read it; some servers send none."""
        run(lambda request: httpx.Response(status, content=body), OPERATIONS["delete"], options())

    @pytest.mark.parametrize(
        "body",
        [
            b"deleted",
            b"[]",
            b"{",
            b"<html>sign in</html>",
            b'{"id": "cntr_1", "deleted": false}',
            b'{"error": {"message": "upstream failed"}}',
        ],
    )
    def test_a_body_that_does_not_say_deleted_is_no_success(
        self, run: Callable[..., Any], body: bytes
    ) -> None:
        """A sign-in page with status 200 is not taken for a deleted container."""
        with pytest.raises(InvalidResponseError):
            run(lambda request: httpx.Response(200, content=body), OPERATIONS["delete"], options())

    @pytest.mark.parametrize("body", [{}, {"status": "ok"}, {"error": {"message": "no"}}])
    def test_a_list_without_data_is_none(self, run: Callable[..., Any], body: dict[str, Any]) -> None:
        """Another service's answer is not taken for an empty list."""
        with pytest.raises(InvalidResponseError):
            run(lambda request: httpx.Response(200, json=body), OPERATIONS["list"], options())

    def test_an_answer_of_any_depth_and_any_characters_is_read(self, run: Callable[..., Any]) -> None:
        """A container that exists is not lost over a field that nobody can store."""
        deep: Any = None
        for _ in range(400):
            deep = {"a": deep}
        body = json.dumps(
            {"id": "cntr_1", "name": "a\ud800", "new": ["\udfff", {"\ud800": float("inf")}], "deep": deep}
        )
        container = run(lambda request: httpx.Response(200, content=body), OPERATIONS["create"], options())
        assert ("cntr_1", "a?") == (container.id, container.name)
        json.dumps(container.to_json(), ensure_ascii=False, allow_nan=False).encode()

    @pytest.mark.parametrize("status", [200, 201, 202, 299])
    def test_any_success_is_one(self, run: Callable[..., Any], status: int) -> None:
        """The statuses beside 200 are documented nowhere and mean the same."""
        answer = httpx.Response(status, json={"id": "cntr_1"})
        assert "cntr_1" == run(lambda request: answer, OPERATIONS["create"], options()).id


class TestAdvice:
    """What a person can do is part of the message."""

    @pytest.mark.parametrize(
        ("location", "place"),
        [
            ("https://login.example.org/sso?back=1#x", "https://login.example.org/sso"),
            ("//cdn.example.org/v1", "https://cdn.example.org/v1"),
            ("/v2/containers", "/v2/containers"),
            ("", "an unnamed place"),
            ("https://a.example.org/" + "x" * 5000, "https://a.example.org/" + "x" * 478 + "…"),
        ],
    )
    def test_a_redirect(self, location: str, place: str) -> None:
        """Where it points to is named without its query, and why it was not followed."""
        error = refused(307, b"", {"location": location}, operation="create")
        assert RedirectError is type(error)
        expected = (
            "POST /containers: HTTP 307: an empty body. It points to "
            f"{place} and was not followed, because that would carry the key there; "
            f"correct the base URL ({BASE_URL})"
        )
        assert expected == str(error)

    @pytest.mark.parametrize("location", ["https://[::1/v1", "https://a:b:c/v1", "https://a\x7f/"])
    def test_a_redirect_to_nowhere(self, run: Callable[..., Any], location: str) -> None:
        """A ``Location`` that is no URL is a broken answer, not a crash."""
        answer = httpx.Response(307, headers={"location": location})
        with pytest.raises(ContainersError):
            run(lambda request: answer, OPERATIONS["retrieve"], options())
        with pytest.raises((RedirectError, AmbiguousCreateError)):
            run(lambda request: answer, OPERATIONS["create"], options())

    def test_a_redirect_without_a_place(self) -> None:
        """A 3xx without ``Location`` is the same error."""
        assert "It points to an unnamed place" in str(refused(304, b""))

    def test_a_wrong_base_url(self) -> None:
        """A 404 that is no error of this API hints at the URL; one that is does not."""
        advice = f". The base URL ({BASE_URL}) may be wrong: it has to end where '/containers' begins"
        error = refused(404, b"<html>")
        assert NotFoundError is type(error)
        assert str(error).endswith(advice)
        assert advice not in str(refused(404, envelope("Container with id 'cntr_1' not found.")))

    def test_a_wrong_key(self) -> None:
        """A 401 says what to check."""
        expected = "GET /containers: HTTP 401: Incorrect API key. Check the API key of the connection"
        for message in ("Incorrect API key", "Incorrect API key."):
            assert expected == str(refused(401, envelope(message), operation="list"))

    def test_missing_permissions(self) -> None:
        """A 403 says what the key needs."""
        expected = (
            "GET /containers: HTTP 403: No access. The key needs read and write access to containers; "
            "change its scopes or use another key"
        )
        assert expected == str(refused(403, envelope("No access"), operation="list"))


KEY = "canary-key-5f2e91+/==\"'&<>-end"
SECRET = "canary-sécret-7a3b+/==\"'&<>\\-end"
GATEWAY = "canary-Gateway-9D41-End"
PROXY = "canary-proxy%2F22c8-end"
CANARIES = [KEY, SECRET, GATEWAY, PROXY, PROXY.replace("%2F", "/")]

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": lambda text: json.dumps(text)[1:-1],
    "url": lambda text: quote(text, safe=""),
    "html": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"u:{text}".encode()).decode(),
    "cut": lambda text: f"{text[:14]}…",
    "cut at the end": lambda text: text[:14],
}


WINDOW = 10
PARTS = {
    form[at : at + WINDOW]
    for canary in CANARIES
    for form in (make(canary) for make in ENCODINGS.values())
    for at in range(len(form) - WINDOW + 1)
}


def traces(text: str) -> set[str]:
    """What a text still has of a secret: ten characters in a row of any of its forms."""
    return {text[at : at + WINDOW] for at in range(len(text) - WINDOW + 1)} & PARTS


def pieces(error: BaseException | None) -> Iterator[str]:
    """Everything there is to see of an error and of those behind it."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        error = error.__cause__ or error.__context__


def shown(model: BaseModel) -> str:
    """Everything there is to see of an answer."""
    return f"{model!r}\n{model}\n{model.model_dump_json()}\n{model.model_dump()!r}\n{model.__dict__!r}"


def echo_bodies(echo: str) -> dict[str, bytes]:
    """Bodies with the same text in different places."""
    documents: dict[str, Any] = {
        "message": envelope(f"You sent {echo}"),
        "message, quoted": envelope(f"Incorrect API key provided: '{echo}'. You can find your key at x."),
        "type": envelope("m", type=echo),
        "param": envelope("m", param=echo),
        "code": envelope("m", code=echo),
        "only": envelope(echo),
        "text": {"error": echo},
        "detail": {"detail": echo},
        "answer": {
            "id": "cntr_1",
            "name": echo,
            "status": f"running {echo}",
            "network_policy": {
                "type": "allowlist",
                "domain_secrets": [{"value": echo}],
                "allowed_domains": [echo],
            },
            "request": {"headers": {"authorization": f"Bearer {echo}"}, echo: [echo]},
            "data": [{"id": "cntr_2", "name": echo, "echo": echo}],
            "last_id": echo,
        },
        "id": {"id": echo, "name": "n"},
        "error member": {"id": "cntr_1", "error": {"message": echo}},
    }
    bodies = {name: json.dumps(document).encode() for name, document in documents.items()}
    bodies |= {f"{name}, utf-8": json.dumps(d, ensure_ascii=False).encode() for name, d in documents.items()}
    bodies["page title"] = f"<html><title>Bad {echo}</title>".encode()
    bodies["page title, escaped"] = f"<html><title>Bad {html.escape(echo)}</title>".encode()
    bodies["page"] = f"<html><body>{echo}</body>".encode()
    bodies["no JSON"] = echo.encode()
    bodies["half JSON"] = f'{{"error": {{"message": "{echo}'.encode()
    bodies["list"] = json.dumps([echo]).encode()
    return bodies


class TestEchoes:
    """A server that sends back what it was sent teaches nobody a secret."""

    @pytest.fixture
    def secret_options(self) -> ClientOptions:
        """Options with a secret wherever one may be, and one retry, so that there is a log line too."""
        return options(
            api_key=KEY,
            headers={"x-gateway-key": GATEWAY},
            proxy=f"http://user:{PROXY}@proxy.example.com:3128",
            max_retries=1,
            max_elapsed=60.0,
        )

    @pytest.fixture
    def secret_request(self) -> CreateContainerRequest:
        """A request with a domain secret."""
        secret = {"domain": "api.example.com", "name": "TOKEN", "value": SecretStr(SECRET)}
        policy = {"type": "allowlist", "allowed_domains": ["api.example.com"], "domain_secrets": [secret]}
        return validate(CreateContainerRequest, {"name": "report", "network_policy": policy})

    @pytest.fixture(autouse=True)
    def _fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.0)

    def outcomes(
        self, answers: dict[str, httpx.Response], operation: Any, client_options: ClientOptions, run: Any
    ) -> dict[str, str]:
        """All that can be seen of what a call returned or raised, for each answer; by one client."""
        answer = httpx.Response(500)

        def handler(request: httpx.Request) -> httpx.Response:
            return answer

        seen = {}
        for name, answer in answers.items():  # noqa: B007 - the handler sends it
            try:
                seen[name] = shown(run(handler, operation, client_options))
            except ContainersError as error:
                seen[name] = "\n".join(pieces(error))
        return seen

    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
    def test_in_the_body(
        self,
        status: int,
        encoding: str,
        secret_options: ClientOptions,
        secret_request: CreateContainerRequest,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """No position and no encoding brings a secret into an error, a model or a log."""
        caplog.set_level(logging.DEBUG, logger="airflow_containers")
        caplog.set_level(logging.INFO, logger="httpx")
        echo = ", ".join(ENCODINGS[encoding](canary) for canary in (KEY, SECRET, GATEWAY, PROXY))
        answers = {place: httpx.Response(status, content=body) for place, body in echo_bodies(echo).items()}
        seen = self.outcomes(answers, lambda client: client.create(secret_request), secret_options, run_sync)
        assert {} == {place: found for place, text in seen.items() if (found := traces(text))}
        assert set() == traces(caplog.text)

    @pytest.mark.parametrize("operation", ["retrieve", "list", "delete"])
    def test_in_the_body_of_other_operations(
        self, run: Callable[..., Any], operation: str, secret_options: ClientOptions
    ) -> None:
        """The same for calls without a body: the key and the gateway's key."""
        for status in (200, 401, 404, 500):
            bodies = echo_bodies(f"{KEY} {GATEWAY}")
            answers = {place: httpx.Response(status, content=body) for place, body in bodies.items()}
            seen = self.outcomes(answers, OPERATIONS[operation], secret_options, run)
            assert {} == {place: found for place, text in seen.items() if (found := traces(text))}

    @pytest.mark.parametrize("status", [200, 302, 400, 500])
    @pytest.mark.parametrize(
        "canary",
        [quote(KEY, safe=""), GATEWAY, base64.b64encode(KEY.encode()).decode()],
        ids=["url", "plain", "base64"],
    )
    def test_in_the_headers(
        self, status: int, canary: str, secret_options: ClientOptions, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A request id, a place to go and a time to wait are texts of the server too."""
        caplog.set_level(logging.DEBUG, logger="airflow_containers")
        headers = [
            ("x-request-id", canary),
            ("x-request-id", canary[:16]),
            ("apim-request-id", f"r-{canary}"),
            ("location", f"https://{canary}.example.org/x"),
            ("location", f"https://user:{canary}@example.org/{canary}?{canary}#{canary}"),
            ("location", f"/{canary}"),
            ("retry-after", canary),
            ("x-should-retry", canary),
            ("content-type", canary),
        ]
        answers = {
            f"{name}: {value}": httpx.Response(status, content=b"<html>", headers={name: value})
            for name, value in headers
        }
        seen = self.outcomes(answers, OPERATIONS["create"], secret_options, run_sync)
        assert {} == {place: found for place, text in seen.items() if (found := traces(text))}
        assert GATEWAY.lower() not in str(list(seen.values())).lower()
        assert set() == traces(caplog.text)

    @pytest.mark.parametrize(
        "kind",
        [
            httpx.ConnectError,
            httpx.ReadError,
            httpx.RemoteProtocolError,
            httpx.LocalProtocolError,
            httpx.ProxyError,
        ],
    )
    def test_in_the_text_of_a_broken_connection(
        self,
        run: Callable[..., Any],
        kind: type[httpx.TransportError],
        secret_options: ClientOptions,
        secret_request: CreateContainerRequest,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The HTTP library quotes what it could not read or send."""

        def handler(request: httpx.Request) -> httpx.Response:
            raise kind(
                f"illegal line {bytearray(request.headers['authorization'].encode())} {GATEWAY} {SECRET}"
            )

        with pytest.raises(ContainersError) as caught:
            run(handler, lambda client: client.create(secret_request), secret_options)
        assert set() == traces("\n".join(pieces(caught.value)))
        assert set() == traces(caplog.text)


IN_NO_FRAME = "canary-in-no-frame-0815"


def test_no_frame_of_an_error_holds_a_secret() -> None:
    """Tools that record the variables of a traceback find neither the body nor the answer in it."""
    request = CreateContainerRequest(
        name="report",
        network_policy={
            "type": "allowlist",
            "allowed_domains": ["api.example.com"],
            "domain_secrets": [
                {"domain": "api.example.com", "name": "TOKEN", "value": SecretStr(IN_NO_FRAME)}
            ],
        },
    )

    def echo(received: httpx.Request) -> httpx.Response:
        return httpx.Response(500, content=received.content)

    client = ContainersClient(options(), transport=httpx.MockTransport(echo))
    with pytest.raises(AmbiguousCreateError) as caught:
        client.create(request)

    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert IN_NO_FRAME not in "".join(told.format())


@pytest.mark.parametrize("operation", ["retrieve", "delete"])
def test_page_that_speaks_of_containers(operation: str) -> None:
    """A page of something in between is not the service, and tells nothing of a container."""
    error = refused(404, b"<title>Azure Container App - Unavailable</title>", operation=operation)
    assert type(error) is NotFoundError
    assert "Azure Container App" in str(error)


@pytest.mark.parametrize("status", [400, 404])
def test_cursor_that_is_gone(status: int) -> None:
    """A page that cannot be had because its cursor is gone is worth another list, and no container's end."""

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=envelope("Container with id 'cntr_1' not found."))

    with pytest.raises(InvalidResponseError, match="List again from the start") as caught:
        run_sync(handler, lambda client: client.list(after="cntr_1"), options())
    assert caught.value.retryable
    assert (status, True) == (caught.value.status_code, "cntr_1" in str(caught.value))
