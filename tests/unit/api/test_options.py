"""Where and how to reach the API: what is refused, and what is never shown."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from airflow_containers.api import AsyncContainersClient, ClientOptions, ConfigurationError, ContainersClient

CANARY = "canary-5f2e91-value"
URL_HINT = "expected one such as 'https://api.openai.com/v1'"


def not_a_header(field: str, length: int) -> str:
    """What is said of a text that no header can carry."""
    return (
        f"{field}: a text of {length} characters with some that a header cannot carry "
        "(a line break, or one outside ASCII); copy the value again"
    )


def no_url(length: int) -> str:
    """What is said of a text that is no URL."""
    return f"base_url: a text of {length} characters that is no http or https URL, {URL_HINT}"


BAD = [
    ({"api_key": ""}, "api_key: it is empty, expected the API key"),
    ({"api_key": " \n"}, "api_key: it is empty, expected the API key"),
    ({"api_key": SecretStr("")}, "api_key: it is empty, expected the API key"),
    ({"api_key": None}, "api_key: got None, expected a text"),
    ({"api_key": 5}, "api_key: got the number 5, expected a text"),
    (
        {"api_key": "sk-1\nsk-2"},
        not_a_header("api_key", 9),
    ),
    (
        {"api_key": "sk-“1”"},
        not_a_header("api_key", 6),
    ),
    ({"base_url": ""}, no_url(0)),
    ({"base_url": "api.example.com/v1"}, no_url(18)),
    ({"base_url": "//api.example.com/v1"}, no_url(20)),
    ({"base_url": "ftp://api.example.com/v1"}, no_url(24)),
    ({"base_url": "https://"}, no_url(8)),
    ({"base_url": "https:///v1"}, no_url(11)),
    ({"base_url": "https://:8080/v1"}, no_url(16)),
    ({"base_url": "https://api.example.com/v 1"}, no_url(27)),
    ({"base_url": "https://api.example.com/v1\n"}, no_url(27)),
    ({"base_url": "https://api.example.com/v1\0"}, no_url(27)),
    ({"base_url": "https://api.\x7fexample.com/v1"}, no_url(27)),
    ({"base_url": "https://[::1/v1"}, f"base_url: not a URL, {URL_HINT}"),
    ({"base_url": "https://api.example.com:port/v1"}, f"base_url: not a URL, {URL_HINT}"),
    ({"base_url": "https://api.example.com:99999/v1"}, f"base_url: not a URL, {URL_HINT}"),
    ({"base_url": None}, "base_url: got None, expected a text"),
    (
        {"base_url": f"https://user:{CANARY}@api.example.com/v1"},
        (
            "base_url: it has user information; put the key into the password (api_key), "
            "and other credentials into headers"
        ),
    ),
    (
        {"base_url": f"https://api.example.com/v1?key={CANARY}"},
        "base_url: it has a query or a fragment; give the URL up to the path only",
    ),
    (
        {"base_url": "https://api.example.com/v1#x"},
        "base_url: it has a query or a fragment; give the URL up to the path only",
    ),
    ({"auth": "basic"}, "auth: got 'basic', expected 'bearer' or 'api-key'"),
    ({"auth": None}, "auth: got None, expected 'bearer' or 'api-key'"),
    ({"auth": []}, "auth: got an empty list, expected 'bearer' or 'api-key'"),
    (
        {"organization": "org\r\nx: y"},
        not_a_header("organization", 9),
    ),
    ({"organization": 5}, "organization: got the number 5, expected a text"),
    (
        {"project": " proj_1"},
        "project: it begins or ends with white space, which a header cannot carry; copy the value again",
    ),
    ({"timeout": 0}, "timeout: got the number 0, expected seconds above 0 and up to 86400"),
    ({"timeout": -1}, "timeout: got the number -1, expected seconds above 0 and up to 86400"),
    ({"timeout": float("nan")}, "timeout: got the number nan, expected seconds above 0 and up to 86400"),
    ({"timeout": float("inf")}, "timeout: got the number inf, expected seconds above 0 and up to 86400"),
    ({"timeout": "60"}, "timeout: got '60', expected seconds above 0 and up to 86400"),
    ({"timeout": None}, "timeout: got None, expected seconds above 0 and up to 86400"),
    ({"timeout": True}, "timeout: got the truth value True, expected seconds above 0 and up to 86400"),
    ({"max_elapsed": -1}, "max_elapsed: got the number -1, expected seconds, 0 or more"),
    ({"max_elapsed": float("nan")}, "max_elapsed: got the number nan, expected seconds, 0 or more"),
    ({"max_elapsed": "5"}, "max_elapsed: got '5', expected seconds, 0 or more"),
    ({"max_retries": -1}, "max_retries: got the number -1, expected an integer, 0 or more"),
    ({"max_retries": 1.5}, "max_retries: got the number 1.5, expected an integer, 0 or more"),
    ({"max_retries": "2"}, "max_retries: got '2', expected an integer, 0 or more"),
    ({"max_retries": True}, "max_retries: got the truth value True, expected an integer, 0 or more"),
    (
        {"requests_per_minute": 0},
        "requests_per_minute: got the number 0, expected an integer, 1 or more",
    ),
    (
        {"requests_per_minute": 1.5},
        "requests_per_minute: got the number 1.5, expected an integer, 1 or more",
    ),
    ({"requests_per_minute": "100"}, "requests_per_minute: got '100', expected an integer, 1 or more"),
    (
        {"requests_per_minute": True},
        "requests_per_minute: got the truth value True, expected an integer, 1 or more",
    ),
    ({"verify": None}, "verify: got None, expected True, False or the path of a CA bundle"),
    ({"verify": 1}, "verify: got the number 1, expected True, False or the path of a CA bundle"),
    ({"verify": ""}, "verify: got an empty text, expected True, False or the path of a CA bundle"),
    ({"headers": None}, "headers: got None, expected a mapping of names to texts"),
    ({"headers": [("a", "b")]}, "headers: got a list of 1, expected a mapping of names to texts"),
    ({"headers": {"bad name": "x"}}, "headers: 'bad name' is not a header name"),
    ({"headers": {"": "x"}}, "headers: '' is not a header name"),
    ({"headers": {5: "x"}}, "headers: 5 is not a header name"),
    ({"headers": {"x-a": 5}}, "headers['x-a']: got the number 5, expected a text"),
    (
        {"headers": {"x-a": f"{CANARY}\r\nx-b: 1"}},
        not_a_header("headers['x-a']", 27),
    ),
    (
        {"headers": {"x-a": f"{CANARY} "}},
        (
            "headers['x-a']: it begins or ends with white space, which a header cannot carry; "
            "copy the value again"
        ),
    ),
    (
        {"headers": {"Content-Length": "5"}},
        "headers: 'Content-Length' is set by the client for each request; leave it out",
    ),
    (
        {"headers": {"transfer-encoding": "chunked"}},
        "headers: 'transfer-encoding' is set by the client for each request; leave it out",
    ),
    (
        {"proxy": f"proxy.example.com:3128/{CANARY}"},
        "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'",
    ),
    ({"proxy": ""}, "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'"),
    (
        {"proxy": f"http://user:{CANARY}@[::1"},
        "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'",
    ),
    (
        {"proxy": f"http://user:{CANARY}@proxy.example.com:99999"},
        "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'",
    ),
    (
        {"proxy": f"ftp://user:{CANARY}@proxy.example.com"},
        "proxy: not the URL of a proxy, expected one such as 'http://proxy.example.com:3128'",
    ),
    ({"proxy": 5}, "proxy: got the number 5, expected a text"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=lambda value: ascii(value)[:40])
def test_what_cannot_work_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    """Each wrong option is named, with its shape and what was expected, and no secret is quoted."""
    with pytest.raises(ConfigurationError) as caught:
        ClientOptions(**{"api_key": "sk-1", **fields})
    assert message == str(caught.value)
    assert CANARY not in repr(caught.value)


def test_a_key_may_have_white_space_around_it() -> None:
    """A key that was copied with a line break works."""
    assert "Bearer sk-1" == ClientOptions(api_key=" sk-1\n").request_headers()["authorization"]


def test_headers_of_a_request() -> None:
    """The key goes where the service expects it; organization and project only if given."""
    plain = ClientOptions(api_key="sk-1").request_headers()
    assert {"accept", "user-agent", "authorization"} == set(plain)
    azure = ClientOptions(api_key="sk-1", auth="api-key", organization="", project=None).request_headers()
    assert "sk-1" == azure["api-key"]
    assert "authorization" not in azure
    full = ClientOptions(api_key="sk-1", organization="org-1", project="proj_1", headers={"X-Team": "data"})
    found = full.request_headers()
    assert ("org-1", "proj_1") == (found["openai-organization"], found["openai-project"])
    assert "data" == found["x-team"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"headers": {"Authorization": "Basic eDp5"}}, "'Authorization' would replace the API key"),
        ({"headers": {"API-Key": "x"}, "auth": "api-key"}, "'API-Key' would replace the API key"),
        ({"headers": {"OpenAI-Project": "x"}, "project": "y"}, "'OpenAI-Project' would replace the project"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "one name is given twice"),
    ],
)
def test_a_header_that_contradicts_another_is_refused(given: dict[str, Any], expected: str) -> None:
    """Which of two values would be sent is not left to chance."""
    with pytest.raises(ConfigurationError, match=expected):
        ClientOptions(api_key="sk-1", **given)


def test_another_authorization_beside_azures_key() -> None:
    """A gateway may want an ``Authorization`` of its own where the key goes elsewhere."""
    options = ClientOptions(api_key="sk-1", auth="api-key", headers={"Authorization": "Basic eDp5"})
    assert "Basic eDp5" == options.request_headers()["authorization"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Team": "data platform", "X-Env": "production"}, []),
        ({"X-Auth": "short"}, ["short", "short"]),
        ({"X-Gateway": "Bearer abcdefg"}, ["Bearer abcdefg", "abcdefg"]),
        ({"X-Opaque": "0123456789abcdef0123"}, ["0123456789abcdef0123"] * 2),
    ],
)
def test_only_headers_that_are_secrets_are_hidden(headers: dict[str, str], expected: list[str]) -> None:
    """The name of a team is not taken out of every text of an answer."""
    assert ["sk-1", *expected] == ClientOptions(api_key="sk-1", headers=headers).secret_values()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://api.example.com/openai/v1///", "https://api.example.com/openai/v1"),
        ("http://127.0.0.1:8645/v1", "http://127.0.0.1:8645/v1"),
        ("http://[::1]:8645/v1", "http://[::1]:8645/v1"),
        ("https://api.example.com", "https://api.example.com"),
    ],
)
def test_base_urls_that_work(text: str, expected: str) -> None:
    """A slash at the end is dropped: a path is put behind it."""
    assert expected == ClientOptions(api_key="sk-1", base_url=text).base_url


class TestSecrets:
    """The key, the headers' values and the proxy's password are in no view of the options or a client."""

    @pytest.fixture
    def options(self) -> ClientOptions:
        """Options with a secret wherever one may be."""
        return ClientOptions(
            api_key=f"{CANARY}-key",
            proxy=f"http://user:{CANARY}-pass%2Fword@proxy.example.com:3128",
            headers={"x-gateway-key": f"{CANARY}-header"},
        )

    def test_no_repr_shows_them(self, options: ClientOptions) -> None:
        """Not of the options, a copy, their fields, or the clients made of them."""
        views = [
            repr(options),
            str(options),
            repr(dataclasses.asdict(options)),
            repr(copy.deepcopy(options)),
            repr(dataclasses.replace(options, timeout=5)),
        ]
        with ContainersClient(options) as client:
            views += [repr(client), repr(client.options), repr(client._exchange._redactor)]
        views.append(repr(AsyncContainersClient(options)))
        assert [] == [view for view in views if CANARY in view]

    def test_they_are_known_for_masking(self, options: ClientOptions) -> None:
        """``secret_values`` has each, the proxy's password as it is written and as it is meant."""
        values = options.secret_values()
        for value in ("key", "header", "pass%2Fword", "pass/word"):
            assert f"{CANARY}-{value}" in values

    def test_a_proxy_that_the_http_client_refuses_is_not_quoted(self) -> None:
        """What passes our check and fails in the library is told without the password."""
        options = ClientOptions(api_key="sk-1", proxy=f"http://user:{CANARY}@ü..example.com:3128")
        with pytest.raises(ConfigurationError) as caught:
            ContainersClient(options)
        assert CANARY not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_a_host_that_the_http_client_refuses_is_found_at_once() -> None:
    """A host name that cannot be encoded is found when the options are made, not by the first call."""
    for host in ("ü..example.com", "api..example.com", f"{'a' * 64}.example.com", ".example.com"):
        with pytest.raises(ConfigurationError, match="base_url: its host has an empty or over-long label"):
            ClientOptions(api_key="sk-1", base_url=f"https://{host}/v1")


class TestVerify:
    """TLS options."""

    @pytest.mark.parametrize("content", [None, "no certificate", ""], ids=["missing", "junk", "empty"])
    def test_a_ca_bundle_that_cannot_be_read_is_named(self, tmp_path: Path, content: str | None) -> None:
        """The message has the path and what it should be."""
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        options = ClientOptions(api_key="sk-1", verify=str(path))
        with pytest.raises(ConfigurationError, match=r"^verify: '.*ca\.pem' cannot be read as a CA bundle"):
            ContainersClient(options)

    def test_one_context_for_equal_options(self) -> None:
        """A TLS context costs tens of milliseconds, so clients with equal options share one."""
        from airflow_containers.api._http import _tls_context

        assert _tls_context(True) is _tls_context(True)
        assert _tls_context(True) is not _tls_context(False)


@given(st.one_of(st.text(max_size=40), st.text(max_size=30).map(lambda text: f"https://{text}/v1")))
def test_a_base_url_either_works_or_is_refused(base_url: str) -> None:
    """No base URL that the options take makes a request fail with anything but our own errors."""
    try:
        options = ClientOptions(api_key="sk-1", base_url=base_url, max_retries=0)
    except ConfigurationError:
        return
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"id": "cntr_1"}))
    try:
        client = ContainersClient(options, transport=transport)
    except ConfigurationError:
        return
    with client:
        assert "cntr_1" == client.retrieve("cntr_1").id


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=3))
def test_headers_either_work_or_are_refused(headers: dict[str, str]) -> None:
    """No header that the options take makes a request fail."""
    try:
        options = ClientOptions(api_key="sk-1", headers=headers)
    except ConfigurationError:
        return
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"id": "cntr_1"}))
    with ContainersClient(options, transport=transport) as client:
        assert "cntr_1" == client.retrieve("cntr_1").id
