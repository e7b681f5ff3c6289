"""Joining host, schema and port of a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.hooks._base_url import OPENAI_HOSTS, dashboard_url, is_openai, join_base_url

OPENAI = "https://api.openai.com/v1"
LABELS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
PATHS = st.lists(LABELS.filter(lambda label: label not in {"http", "https"}), max_size=3).map("/".join)
PORTS = st.integers(1, 65535)


@pytest.mark.parametrize(
    ("host", "schema", "port", "expected"),
    [
        (None, None, None, OPENAI),
        ("", "", None, OPENAI),
        ("https://api.openai.com/v1", None, None, OPENAI),
        ("https://api.openai.com/v1/", "", None, OPENAI),
        ("https://api.openai.com", "", None, OPENAI),
        ("api.openai.com", None, None, OPENAI),
        ("API.OpenAI.com", None, None, OPENAI),
        ("HTTPS://api.openai.com", None, None, OPENAI),
        ("api.openai.com", "https", 443, "https://api.openai.com:443/v1"),
        ("api.openai.com", "v1", None, OPENAI),
        ("api.openai.com", "v2", None, "https://api.openai.com/v2"),
        ("eu.api.openai.com", None, None, "https://eu.api.openai.com/v1"),
        ("fr.api.openai.com", None, None, "https://fr.api.openai.com"),
        ("api.openai.com.example.com", None, None, "https://api.openai.com.example.com"),
        ("https://gw.example.com", None, None, "https://gw.example.com"),
        ("https://gw.example.com", "v1", 8443, "https://gw.example.com:8443/v1"),
        ("gw.example.com", "https", 8443, "https://gw.example.com:8443"),
        ("gw.example.com", "http", None, "http://gw.example.com"),
        ("gw.example.com/openai", "v1", None, "https://gw.example.com/openai/v1"),
        ("gw.example.com/v1", "/v1/", None, "https://gw.example.com/v1"),
        ("gw.example.com/v1", "HTTP", 80, "http://gw.example.com:80/v1"),
        ("https://gw.example.com:8443/v1", None, 8443, "https://gw.example.com:8443/v1"),
        ("https://gw.example.com:8443/v1", "https", None, "https://gw.example.com:8443/v1"),
        ("localhost:8645/v1", None, None, "https://localhost:8645/v1"),
        ("http://127.0.0.1", "v1", 8645, "http://127.0.0.1:8645/v1"),
        ("::1", "v1", 8645, "https://[::1]:8645/v1"),
        ("http://::1", "v1", 8645, "http://[::1]:8645/v1"),
        ("http://[::1]:8645/v1", None, None, "http://[::1]:8645/v1"),
        ("  https://gw.example.com/v1\n", None, None, "https://gw.example.com/v1"),
        (
            "https://team.openai.azure.com/openai/v1/",
            None,
            None,
            "https://team.openai.azure.com/openai/v1",
        ),
    ],
)
def test_parts_make_one_url(host: str | None, schema: str | None, port: int | None, expected: str) -> None:
    """Whatever a form or a hand-written URI puts where, the URL is the one that was meant."""
    assert expected == join_base_url(host, schema, port)


@pytest.mark.parametrize(
    ("host", "schema", "port", "message"),
    [
        (None, "v1", None, "host: it is empty while schema or port is set"),
        ("", "", 8443, "host: it is empty while schema or port is set"),
        ("ftp://gw.example.com", None, None, "host: its scheme is 'ftp', expected 'https' or 'http'"),
        ("https://gw.example.com", "http", None, "schema: it is 'http' while host begins with 'https://'"),
        ("https://gw.example.com:1", None, 2, "port: it is 2 while host has the port 1"),
        ("gw.example.com:70000", None, None, "port: got 70000"),
        ("gw.example.com", None, -1, "port: got -1"),
        ("gw.example.com:", None, None, "host: it has no usable host name"),
        ("https://", None, None, "host: it has no usable host name"),
        ("/v1", None, None, "host: it has no usable host name"),
        ("gw.example.com:port", None, None, "host: it has no usable host name"),
        ("a:b:c", None, None, "host: it has no usable host name"),
        ("[gw]", None, None, "host: it has no usable host name"),
        ("gw.example.com?x=1", None, None, "host: it has a query or a fragment"),
        ("https://gw.example.com/v1#x", None, None, "host: it has a query or a fragment"),
        ("gw.example.com", "v1?x=1", None, "schema: expected 'https', 'http' or the path"),
        ("gw.example.com", "ftp://", None, "schema: expected 'https', 'http' or the path"),
        ("gw example.com", None, None, "host: it has white space"),
        ("gw.example.com\x00", None, None, "host: it has white space or control characters"),
        ("https://me:hunter22@gw.example.com", None, None, "host: it has user information"),
        ("sk-proj-hunter22hunter22", None, None, "host: it looks like an API key"),
        ("http://api.openai.com/v1", None, None, "host: OpenAI answers to https only"),
        ("us.api.openai.com", "http", None, "host: OpenAI answers to https only"),
    ],
)
def test_contradictions_are_refused(
    host: str | None, schema: str | None, port: int | None, message: str
) -> None:
    """Parts that make no URL are refused with the field's name, and without what may be a secret."""
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
        join_base_url(host, schema, port)
    assert "hunter22" not in str(caught.value)


@given(scheme=st.sampled_from(["http", "https"]), host=HOSTS, port=st.none() | PORTS, path=PATHS)
def test_every_spelling_means_the_same(scheme: str, host: str, port: int | None, path: str) -> None:
    """Port and path may be in the host or in fields of their own."""
    authority = host if port is None else f"{host}:{port}"
    slash_path = f"/{path}" if path else ""
    expected = f"{scheme}://{authority}{slash_path}"

    spellings = {
        join_base_url(f"{scheme}://{authority}{slash_path}"),
        join_base_url(f"{scheme}://{authority}{slash_path}/"),
        join_base_url(f"{scheme}://{host}{slash_path}", None, port),
        join_base_url(f"{scheme}://{host}", path, port),
        join_base_url(f"{scheme}://{authority}", f"/{path}", None),
        join_base_url(f"{host}{slash_path}", scheme, port),
        join_base_url(f"{authority}{slash_path}", scheme, port),
    }

    assert {expected} == spellings


@given(host=st.text(max_size=40), schema=st.text(max_size=10), port=st.none() | st.integers(-10, 70_000))
def test_any_text_makes_a_url_or_a_reason(host: str, schema: str, port: int | None) -> None:
    """No input gives anything else than an http(s) URL or a ValueError that names a field."""
    try:
        url = join_base_url(host, schema, port)
    except ValueError as error:
        assert str(error).split(":")[0] in {"host", "schema", "port"}  # noqa: PT017 - both outcomes are right
    else:
        assert url.startswith(("http://", "https://"))
        assert not url.endswith("/")


@pytest.mark.parametrize("host", sorted(OPENAI_HOSTS))
def test_openai_has_a_dashboard(host: str) -> None:
    """Containers on OpenAI's own hosts have a page in the dashboard."""
    assert is_openai(f"https://{host}/v1")
    assert dashboard_url(f"https://{host}/v1", "cntr_1") == "https://platform.openai.com/containers/cntr_1"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8645/v1",
        "https://team.openai.azure.com/openai/v1",
        "https://api.openai.com.example.com/v1",
        "https://gw.example.com/api.openai.com",
    ],
)
def test_other_services_have_none(base_url: str) -> None:
    """A link would lead to a page about nothing."""
    assert dashboard_url(base_url, "cntr_1") is None


def test_ids_are_encoded() -> None:
    """An id from a gateway cannot change where the link leads."""
    expected = "https://platform.openai.com/containers/..%2Fx%3Fy"
    assert expected == dashboard_url("https://api.openai.com/v1", "../x?y")
