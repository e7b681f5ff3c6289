"""The rules of /v1/containers, asked through the application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.skill_zip import inline_skill, skill_zip
from tests.unit.local.conftest import Driver

_ALLOWLIST = {"type": "allowlist", "allowed_domains": ["api.example.com"]}
_SECRET = {"domain": "api.example.com", "name": "API_KEY", "value": "v"}
_INLINE = inline_skill("n")


def _policy(**changes: Any) -> dict[str, Any]:
    return {"network_policy": {**_ALLOWLIST, **changes}}


def _secret(**changes: Any) -> dict[str, Any]:
    return _policy(domain_secrets=[{**_SECRET, **changes}])


def _inline(**changes: Any) -> dict[str, Any]:
    return {"skills": [{**_INLINE, **changes}]}


def _source(**changes: Any) -> dict[str, Any]:
    return _inline(source={**_INLINE["source"], **changes})  # type: ignore[dict-item]


def _reference(**changes: Any) -> dict[str, Any]:
    return {"skills": [{"type": "skill_reference", "skill_id": "skill_1", **changes}]}


def _minutes(minutes: object, anchor: object = "last_active_at") -> dict[str, Any]:
    return {"expires_after": {"anchor": anchor, "minutes": minutes}}


def _create(call: Driver, **body: Any) -> dict[str, Any]:
    answer = call("POST", "/v1/containers", {"name": "n", **body})
    assert answer.status == 200, answer.body
    created: dict[str, Any] = answer.json
    return created


def test_the_answer_has_the_fields_of_the_reference_and_no_others(call: Driver) -> None:
    """Defaults are filled in; files, skills and secrets are never shown."""
    call("POST", "/_local/files/file-1", content=b"x")
    call("POST", "/_local/skills/skill_1", content=skill_zip())
    shown = _create(call, file_ids=["file-1"], **_reference(version="latest"))

    assert shown.pop("id").startswith("cntr_")
    assert shown.pop("created_at") == shown.pop("last_active_at")
    assert {
        "object": "container",
        "name": "n",
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "memory_limit": "1g",
        "network_policy": {"type": "disabled"},
    } == shown


def test_ids_are_cntr_and_48_hex_digits(call: Driver) -> None:
    """Ids look like the service's."""
    container_id = _create(call)["id"]

    assert len(container_id) == 53
    assert int(container_id.removeprefix("cntr_"), 16) >= 0


def test_domain_secrets_are_write_only(call: Driver) -> None:
    """The allowlist is echoed without its secrets, on create, retrieve and list."""
    created = _create(call, **_secret(value="canary"))

    answers = [call("GET", f"/v1/containers/{created['id']}"), call("GET", "/v1/containers")]
    assert _ALLOWLIST == created["network_policy"]
    assert all(b"canary" not in answer.body and b"API_KEY" not in answer.body for answer in answers)


@pytest.mark.parametrize(
    "body",
    [
        {},
        _minutes(1),
        _minutes(20),
        {"memory_limit": "64g"},
        {"network_policy": {"type": "disabled"}},
        _policy(allowed_domains=["a.b", "xn--bcher-kva.example", "a-b.example.com", "1.example.com"]),
        _secret(value="v" * 10_485_760),
        _secret(name="_x1"),
        _reference(skill_id="s" * 64, version="1"),
        _inline(),
        {"skills": [], "file_ids": []},
    ],
    ids=str,
)
def test_accepted(call: Driver, body: dict[str, Any]) -> None:
    """What keeps every limit is accepted."""
    call("POST", f"/_local/skills/{'s' * 64}", content=skill_zip())
    _create(call, **body)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"name": ""}, "name", "empty_string"),
        ({"name": None}, "name", "invalid_type"),
        ({"metadata": {}}, "metadata", "unknown_parameter"),
        ({"expires_after": None}, "expires_after", "invalid_type"),
        ({"expires_after": {"minutes": 5}}, "expires_after.anchor", "missing_required_parameter"),
        (
            {"expires_after": {"anchor": "last_active_at"}},
            "expires_after.minutes",
            "missing_required_parameter",
        ),
        (_minutes(5, "created_at"), "expires_after.anchor", "invalid_value"),
        (_minutes(0), "expires_after.minutes", "integer_below_min_value"),
        (_minutes(21), "expires_after.minutes", "integer_above_max_value"),
        (_minutes("20"), "expires_after.minutes", "invalid_type"),
        (_minutes(20.0), "expires_after.minutes", "invalid_type"),
        (_minutes(True), "expires_after.minutes", "invalid_type"),
        ({"memory_limit": "2g"}, "memory_limit", "invalid_value"),
        ({"memory_limit": None}, "memory_limit", "invalid_type"),
        ({"file_ids": "file-1"}, "file_ids", "invalid_type"),
        ({"file_ids": ["file-1", 2]}, "file_ids[1]", "invalid_type"),
        ({"network_policy": {}}, "network_policy.type", "missing_required_parameter"),
        (
            {"network_policy": {"type": "allowlist"}},
            "network_policy.allowed_domains",
            "missing_required_parameter",
        ),
        (
            {"network_policy": {**_ALLOWLIST, "type": "disabled"}},
            "network_policy.allowed_domains",
            "unknown_parameter",
        ),
        (_policy(allowed_domains=[]), "network_policy.allowed_domains", "empty_array"),
        (_policy(domain_secrets=[]), "network_policy.domain_secrets", "empty_array"),
        (_secret(domain="data.example.org"), "network_policy.domain_secrets[0].domain", "invalid_value"),
        (_secret(domain=""), "network_policy.domain_secrets[0].domain", "empty_string"),
        (_secret(name=""), "network_policy.domain_secrets[0].name", "empty_string"),
        (_secret(name="1A"), "network_policy.domain_secrets[0].name", "invalid_value"),
        (_secret(name="HTTPS_PROXY"), "network_policy.domain_secrets[0].name", "invalid_value"),
        (_secret(name="SSL_CERT_FILE"), "network_policy.domain_secrets[0].name", "invalid_value"),
        (_secret(name="A\n"), "network_policy.domain_secrets[0].name", "invalid_value"),
        (_secret(value=""), "network_policy.domain_secrets[0].value", "empty_string"),
        (
            _secret(value="v" * 10_485_761),
            "network_policy.domain_secrets[0].value",
            "string_above_max_length",
        ),
        (_secret(value=None), "network_policy.domain_secrets[0].value", "invalid_type"),
        (_policy(domain_secrets=[_SECRET, _SECRET]), "network_policy.domain_secrets[1]", "invalid_value"),
        (_reference(skill_id=""), "skills[0].skill_id", "empty_string"),
        (_reference(skill_id="s" * 65), "skills[0].skill_id", "string_above_max_length"),
        (_reference(version="0"), "skills[0].version", "invalid_value"),
        (_reference(version=2), "skills[0].version", "invalid_type"),
        (_reference(type="other"), "skills[0].type", "invalid_value"),
        (_inline(description=None), "skills[0].description", "invalid_type"),
        (_source(media_type="application/gzip"), "skills[0].source.media_type", "invalid_value"),
        (_source(data=""), "skills[0].source.data", "empty_string"),
        (_source(data="***"), "skills[0].source.data", "invalid_value"),
        (_source(data="A" * 70_254_593), "skills[0].source.data", "string_above_max_length"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_refused(call: Driver, body: dict[str, Any], param: str, code: str) -> None:
    """What breaks a rule gets a 400 that names the field, and makes no container."""
    answer = call("POST", "/v1/containers", {"name": "n", **body})

    assert (400, "invalid_request_error", param, code) == (
        answer.status,
        answer.error["type"],
        answer.error["param"],
        answer.error["code"],
    )
    assert call("GET", "/v1/containers").json["data"] == []


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("https://api.example.com", "one with a scheme"),
        ("api.example.com/v1", "one with a path"),
        ("api.example.com?q", "one with a path"),
        ("api.example.com:443", "one with a port"),
        ("user@api.example.com", "one with a user"),
        ("*.example.com", "one with a wildcard"),
        ("*", "one with a wildcard"),
        ("10.0.0.1", "an IP address"),
        ("2130706433", "an IP address"),
        ("0x7f000001", "an IP address"),
        ("::1", "an IP address"),
        ("[2001:db8::1]", "an IP address"),
        ("fe80::1%eth0", "an IP address"),
        ("API.example.com", "one with upper-case letters"),
        ("bücher.example", "one with characters outside ASCII"),
        ("localhost", "a single label"),
        ("example.1", "one whose last label is a number"),
        ("api.example.com.", "one with a final dot"),
        (" api.example.com", "one with white space"),
        ("api.example.com\n", "one with white space"),
        ("-a.example.com", "something else"),
        ("a_b.example.com", "something else"),
        ("a..example.com", "something else"),
        (f"{'a' * 64}.example.com", "something else"),
        (".".join(["a" * 60] * 5), "at most 253 characters"),
    ],
)
def test_domains_are_bare_lower_case_host_names(call: Driver, domain: str, found: str) -> None:
    """Anything else is refused with what was found; the entry is named, not repeated."""
    answer = call(
        "POST", "/v1/containers", {"name": "n", **_policy(allowed_domains=["a.example.com", domain])}
    )

    assert (400, "network_policy.allowed_domains[1]") == (answer.status, answer.error["param"])
    assert found in answer.error["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b"1" * 5000,
        b'{"a":1}x',
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_body_that_is_no_json_is_a_400(call: Driver, content: bytes) -> None:
    """Broken, endless or unrepresentable JSON is refused, not an accident."""
    answer = call("POST", "/v1/containers", content=content)

    assert answer.status == 400
    assert answer.error["message"].startswith("We could not parse the JSON body of your request.")


def test_another_content_type_is_refused(call: Driver) -> None:
    """A form is not taken for JSON."""
    answer = call("POST", "/v1/containers", {"name": "n"}, headers={"content-type": "text/plain"})

    assert (400, "unsupported_content_type") == (answer.status, answer.error["code"])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    "name", "expires_after", "anchor", "minutes", "file_ids", "memory_limit", "network_policy", "type",
    "allowed_domains", "domain_secrets", "domain", "value", "skills", "skill_id", "version", "source", "data",
)  # fmt: skip
_WORDS = (
    "allowlist",
    "disabled",
    "inline",
    "skill_reference",
    "last_active_at",
    "a.example.com",
    "1g",
    "base64",
)
_NEAR = st.recursive(
    _JSON | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    body=_JSON
    | _NEAR
    | st.fixed_dictionaries({"name": st.text(min_size=1)}, optional={"network_policy": _NEAR})
)
def test_no_json_value_is_an_accident(call: Driver, body: object) -> None:
    """Any JSON is answered with 200 or with a 400 in the envelope, and can be journaled."""
    answer = call("POST", "/v1/containers", body)

    assert answer.status in {200, 400}
    assert call("GET", "/_local/journal").status == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(content=st.binary(max_size=60))
def test_no_bytes_are_an_accident(call: Driver, content: bytes) -> None:
    """Any bytes as a body get a 400, or a 200 if they happen to be a request."""
    assert call("POST", "/v1/containers", content=content).status in {200, 400}


def test_a_body_over_the_limit_is_a_413(make_app: Callable[..., Driver]) -> None:
    """Too long a body is refused, also when it comes in pieces."""
    call = make_app(max_body_bytes=1000)

    for chunks in (1, 7):
        answer = call("POST", "/v1/containers", {"name": "n" * 1000}, chunks=chunks)
        assert (413, "close") == (answer.status, answer.headers["connection"])
    assert call("POST", "/v1/containers", {"name": "n" * 900}, chunks=7).status == 200


def test_pages_follow_each_other(call: Driver) -> None:
    """Pages of equal age are stable, complete and in order, in both directions."""
    ids = [_create(call, name=f"n{number}")["id"] for number in range(7)]

    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        seen: list[str] = []
        page = call("GET", f"/v1/containers?limit=3&order={order}").json
        while True:
            seen += [row["id"] for row in page["data"]]
            assert (page["data"][0]["id"], page["data"][-1]["id"]) == (page["first_id"], page["last_id"])
            if not page["has_more"]:
                break
            page = call("GET", f"/v1/containers?limit=3&order={order}&after={page['last_id']}").json
        assert expected == seen


def test_the_default_page_has_20_and_the_newest_first(call: Driver) -> None:
    """Without parameters, a list is the 20 newest."""
    ids = [_create(call)["id"] for _ in range(21)]

    page = call("GET", "/v1/containers").json
    assert (ids[:0:-1], True) == ([row["id"] for row in page["data"]], page["has_more"])


def test_an_empty_list(call: Driver) -> None:
    """An empty page has null ids."""
    assert {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False} == (
        call("GET", "/v1/containers").json
    )


def test_the_name_filter_is_exact(call: Driver) -> None:
    """`name` finds equal names only, page by page."""
    ids = [_create(call, name=name)["id"] for name in ("a", "ab", "A", "a")]

    first = call("GET", "/v1/containers?name=a&limit=1").json
    second = call("GET", f"/v1/containers?name=a&limit=1&after={first['last_id']}").json
    assert ([ids[3]], True, [ids[0]], False) == (
        [row["id"] for row in first["data"]],
        first["has_more"],
        [row["id"] for row in second["data"]],
        second["has_more"],
    )


def test_a_deleted_cursor_keeps_its_place(call: Driver) -> None:
    """A sweep that deletes page by page reaches the end."""
    ids = [_create(call)["id"] for _ in range(3)]
    call("DELETE", f"/v1/containers/{ids[2]}")

    page = call("GET", f"/v1/containers?after={ids[2]}").json
    assert [ids[1], ids[0]] == [row["id"] for row in page["data"]]


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=101", "limit", "integer_above_max_value"),
        ("limit=" + "9" * 200, "limit", "integer_above_max_value"),
        ("limit=ten", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("order=up", "order", "invalid_value"),
        ("after=cntr_1", "after", "invalid_value"),
        ("status=running", "status", "unknown_parameter"),
        ("name=a&name=b", "name", "invalid_value"),
    ],
)
def test_wrong_list_parameters(call: Driver, query: str, param: str, code: str) -> None:
    """A wrong query is refused and named."""
    answer = call("GET", f"/v1/containers?{query}")

    assert (400, param, code) == (answer.status, answer.error["param"], answer.error["code"])


def test_the_api_version_of_azure_is_accepted(call: Driver) -> None:
    """Azure's clients add `api-version` to every request."""
    assert call("GET", "/v1/containers?api-version=preview").status == 200


def test_a_deleted_container_is_gone(call: Driver) -> None:
    """Delete answers once; afterwards every operation by id is a 404 with null code and param."""
    container_id = _create(call)["id"]
    path = f"/v1/containers/{container_id}"

    assert {"id": container_id, "object": "container.deleted", "deleted": True} == call("DELETE", path).json
    for method in ("DELETE", "GET"):
        answer = call(method, path)
        assert answer.status == 404
        assert {
            "message": f"Container with id '{container_id}' not found.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        } == answer.error
    assert call("GET", "/v1/containers").json["data"] == []


def test_a_get_by_id_keeps_a_container_alive_and_a_list_does_not(call: Driver) -> None:
    """Idle time counts from the last operation by id."""
    kept, left = _create(call, **_minutes(2)), _create(call, **_minutes(2))
    rows: list[dict[str, Any]] = []
    for _ in range(3):
        call("POST", "/_local/clock", {"advance": 90})
        call("GET", f"/v1/containers/{kept['id']}")
        rows = call("GET", "/v1/containers?order=asc").json["data"]

    assert ["running", "expired"] == [row["status"] for row in rows]
    assert rows[0]["last_active_at"] >= kept["created_at"] + 270
    assert left["created_at"] == rows[1]["last_active_at"]


def test_an_expired_container_stays_expired(call: Driver) -> None:
    """A look at an expired container shows it and does not revive it; it can be deleted."""
    container_id = _create(call)["id"]
    call("POST", "/_local/clock", {"advance": 1200})

    for _ in range(2):
        answer = call("GET", f"/v1/containers/{container_id}")
        assert (200, "expired") == (answer.status, answer.json["status"])
    assert call("DELETE", f"/v1/containers/{container_id}").status == 200


def test_unknown_urls_and_methods(call: Driver) -> None:
    """Wrong routes are refused in the envelope; an unknown one needs no key to be told so."""
    unknown = call("POST", "/v1/foo", {}, headers={"authorization": ""})
    wrong = call("PATCH", "/v1/containers", {})

    assert (404, "Invalid URL (POST /v1/foo)") == (unknown.status, unknown.error["message"])
    assert (405, "Invalid method for URL (PATCH /v1/containers)", "GET, POST") == (
        wrong.status,
        wrong.error["message"],
        wrong.headers["allow"],
    )
    assert call("GET", "/v1/containers/").status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer right"}, 200),
        ({"authorization": "bearer right"}, 200),
        ({"authorization": "", "api-key": "right"}, 200),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "", "api-key": "wrong"}, 401),
        ({"authorization": "Bearer ricéht"}, 401),
        ({"authorization": "Basic right"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": ""}, 401),
    ],
    ids=str,
)
def test_the_key_is_checked(make_app: Callable[..., Driver], headers: dict[str, str], status: int) -> None:
    """With a key set, only that key is let in, as bearer or as Azure's header; none is ever repeated."""
    call = make_app(api_key="right")

    answer = call("GET", "/v1/containers", headers=headers)
    assert status == answer.status
    assert not any(word in answer.body for word in (b"right", b"wrong", b"ric"))
    assert status == call("GET", "/_local/health", headers=headers).status


def test_without_a_key_any_will_do_but_none_will_not(call: Driver) -> None:
    """A client that forgets its key is told so, as by the service."""
    answer = call("GET", "/v1/containers", headers={"authorization": ""})

    assert answer.status == 401
    assert answer.error["message"].startswith("You didn't provide an API key.")


def test_every_answer_has_a_request_id(call: Driver) -> None:
    """Errors too."""
    ids = {
        call("GET", path).headers["x-request-id"]
        for path in ("/v1/containers", "/v1/foo", "/v1/containers/x")
    }

    assert len(ids) == 3
    assert all(request_id.startswith("req_") and len(request_id) == 36 for request_id in ids)


def test_a_fault_of_the_server_is_a_500_that_tells_no_secrets(
    call: Driver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An accident inside is answered in the envelope; what was sent shows nowhere."""

    def fail(request: dict[str, Any]) -> None:
        raise RuntimeError(str(request))

    monkeypatch.setattr(call.app._services.containers, "create", fail)
    answer = call("POST", "/v1/containers", {"name": "n", **_secret(value="canary")})

    assert (500, "server_error") == (answer.status, answer.error["type"])
    assert "RuntimeError in POST /v1/containers" in (printed := capsys.readouterr().err)
    assert "canary" not in printed + answer.body.decode()


def test_state_survives_another_application(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """What was made is there for the next server on the same directory."""
    first = make_app(tmp_path / "s")
    kept, gone = _create(first)["id"], _create(first)["id"]
    first("DELETE", f"/v1/containers/{gone}")
    first.app.close()
    second = make_app(tmp_path / "s")

    assert [kept] == [row["id"] for row in second("GET", "/v1/containers").json["data"]]
