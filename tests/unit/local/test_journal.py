"""What the journal keeps, what it hides, and how it is searched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.local.journal import Journal, redact
from tests.unit.local.conftest import Driver

_CANARY = "canary-6f1d"


def _entries(call: Driver, query: str = "") -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = call("GET", f"/_local/journal{query}").json["data"]
    return data


def _add(journal: Journal, body: object = None, path: str = "/v1/containers") -> None:
    journal.add(
        request_id="req_1",
        time=1.0,
        method="POST",
        path=path,
        query=(),
        headers=(),
        body=body,
        body_bytes=0,
        status=200,
        fault=None,
        seconds=0.0,
    )


def test_an_entry_tells_what_was_asked(call: Driver) -> None:
    """Method, path, query, headers, body, status, the answer's request id."""
    answer = call("GET", "/v1/containers?name=a&limit=5", headers={"user-agent": "me", "x-other": "no"})

    (entry,) = _entries(call)
    assert answer.headers["x-request-id"] == entry["request_id"]
    assert ("GET", "/v1/containers", {"name": "a", "limit": "5"}, 200, None, None) == tuple(
        entry[key] for key in ("method", "path", "query", "status", "body", "fault")
    )
    assert {"content-type": "application/json", "user-agent": "me", "authorization": "Bearer ***"} == entry[
        "headers"
    ]


def test_filters(call: Driver) -> None:
    """Method, path or glob, status, name and since narrow the journal, and combine."""
    container_id = call("POST", "/v1/containers", {"name": "a"}).json["id"]
    call("POST", "/v1/containers", {"name": ""})
    call("GET", "/v1/containers?name=a")
    call("GET", f"/v1/containers/{container_id}")

    found = {
        query: [entry["id"] for entry in _entries(call, query)]
        for query in (
            "?method=post", "?path=/v1/containers", "?path=/v1/containers/*", "?status=400", "?name=a",
            "?since=2", "?method=GET&since=3", "?status=404",
        )
    }  # fmt: skip
    assert {
        "?method=post": [1, 2],
        "?path=/v1/containers": [1, 2, 3],
        "?path=/v1/containers/*": [4],
        "?status=400": [2],
        "?name=a": [1, 3],
        "?since=2": [3, 4],
        "?method=GET&since=3": [4],
        "?status=404": [],
    } == found
    assert call("GET", "/_local/journal?nam=a").status == 400


def test_clearing(call: Driver) -> None:
    """The journal can be emptied; ids go on."""
    call("GET", "/v1/containers")

    assert {"deleted": True, "entries": 1} == call("DELETE", "/_local/journal").json
    call("GET", "/v1/containers")
    assert [2] == [entry["id"] for entry in _entries(call)]


def test_admin_requests_are_not_journaled(call: Driver) -> None:
    """The journal is about the API."""
    call("GET", "/_local/health")

    assert [] == _entries(call)


@pytest.mark.parametrize(
    "body",
    [
        {"network_policy": {"domain_secrets": [{"domain": "d", "name": "n", "value": _CANARY}]}},
        {"network_policy": {"domain_secrets": [{"domain": "d", "name": "n", "val": _CANARY}]}},
        {"network_policy": {"domain_secrets": [_CANARY]}},
        {"network_policy": {"domain_secrets": _CANARY}},
        {"network_policy": {"domain_secrets": {"a": [_CANARY]}}},
        {"network_policy": {"domain_secrets": [{"domain": [_CANARY], "name": {"x": _CANARY}}]}},
        {"domain_secret": {"x": _CANARY}},
        {"domain_secrets": [{"value": _CANARY}]},
        {"value": _CANARY},
        {"env": [{"name": "n", "value": _CANARY}]},
        {"API_KEY": _CANARY, "x-token": [_CANARY], "Password": {"a": _CANARY}},
        {"skills": [{"source": {"data": _CANARY}}]},
        {"data": _CANARY},
        [{"value": _CANARY}],
        _CANARY,
    ],
    ids=str,
)
def test_secrets_and_skill_data_are_hidden_wherever_they_stand(call: Driver, body: object) -> None:
    """Also in requests that the server refuses."""
    call("POST", "/v1/containers", body)

    assert _CANARY not in json.dumps(_entries(call))


def test_a_canary_is_nowhere(call: Driver, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Key and secret values reach neither the journal nor the disk nor the output."""
    secret = {"domain": "api.example.com", "name": "K", "value": _CANARY}
    policy = {"type": "allowlist", "allowed_domains": ["api.example.com"], "domain_secrets": [secret]}
    headers = {"authorization": f"Bearer {_CANARY}", "api-key": _CANARY}
    statuses = [
        call("POST", path, {"name": "n", "network_policy": policy, **more}, headers=headers).status
        for path, more in (
            ("/v1/containers", {}),
            ("/v1/containers", {"unknown": 1}),
            (f"/v1/containers?api_key={_CANARY}", {}),
            ("/v1/other", {}),
        )
    ]
    call("POST", "/v1/containers", content=f'{{"value": "{_CANARY}"'.encode(), headers=headers)

    assert [200, 400, 200, 404] == statuses
    shown = [call("GET", f"/_local/{path}").body for path in ("journal", "containers", "faults")]
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"cntr_" in content for content in stored)
    assert not any(_CANARY.encode() in content for content in shown + stored)
    assert "" == "".join(capfd.readouterr())


def test_what_is_not_secret_stays(call: Driver) -> None:
    """The body is otherwise as it was sent."""
    body = {
        "name": "n",
        "network_policy": {
            "type": "allowlist",
            "allowed_domains": ["api.example.com"],
            "domain_secrets": [{"domain": "api.example.com", "name": "K", "value": "v"}],
        },
        "skills": [{"type": "inline", "name": "s", "description": "d", "source": {"data": "UEsFBg=="}}],
    }
    call("POST", "/v1/containers", body)

    (entry,) = _entries(call)
    body["network_policy"]["domain_secrets"][0]["value"] = "***"  # type: ignore[index]
    body["skills"][0]["source"]["data"] = "<8 characters>"  # type: ignore[index]
    assert (body, "n") == (entry["body"], entry["name"])


def test_a_body_that_is_no_object_is_kept_by_its_size(call: Driver) -> None:
    """Nothing can be said about the inside of what cannot be read."""
    call("POST", "/v1/containers", content=b'{"name": "x')

    (entry,) = _entries(call)
    assert (None, 11) == (entry["body"], entry["body_bytes"])


def test_the_journal_is_bounded_in_entries() -> None:
    """The oldest go first, and are counted."""
    journal = Journal(max_entries=3)
    for number in range(5):
        _add(journal, path=f"/{number}")

    assert (["/2", "/3", "/4"], 2) == ([entry.path for entry in journal.find()], journal.dropped)


def test_the_journal_is_bounded_in_bytes() -> None:
    """Long bodies push out the old ones; a very long one is kept without its body."""
    journal = Journal(max_bytes=10_000)
    for _ in range(20):
        _add(journal, {"names": ["x" * 1000]})
    _add(journal, {"names": ["x" * 1000] * 1000})

    kept = [entry.body for entry in journal.find()]
    assert sum(len(body or b"") for body in kept) <= 10_000
    assert kept[-1] is None
    assert 21 == len(kept) + journal.dropped


def test_long_texts_become_their_length() -> None:
    """A value that nobody will read is not kept."""
    assert {"name": "<5000 characters>"} == redact({"name": "x" * 5000})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(before=_JSON, around=st.lists(st.sampled_from(["a", "skills", "network_policy", 0]), max_size=4))
def test_domain_secrets_are_hidden_at_any_depth(before: object, around: list[str | int]) -> None:
    """Whatever surrounds a list of secrets, their values are gone."""
    value: object = {"x": before, "domain_secrets": [{"domain": "d", "name": "n", "value": _CANARY}, _CANARY]}
    for key in around:
        value = [value] if key == 0 else {key: value}

    assert _CANARY not in json.dumps(redact(value))


@pytest.mark.parametrize("content", [b"", b'{"name": "n"}'], ids=["nothing", "a whole object"])
def test_a_request_that_breaks_off_leaves_no_trace(call: Driver, content: bytes) -> None:
    """It is not carried out, uses up no fault and is not in the journal."""
    call("POST", "/_local/faults", {"status": 500})

    assert call("POST", "/v1/containers", content=content, cut=True).status == 0
    assert [] == _entries(call)
    assert [] == call("GET", "/_local/containers").json["data"]
    assert 0 == call("GET", "/_local/faults").json["data"][0]["hits"]
    assert call("POST", "/_local/reset", content=content, cut=True).status == 0
    assert 1 == len(call("GET", "/_local/faults").json["data"])
