"""Which orders are taken, which requests they hit, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.local.conftest import Driver


def _order(call: Driver, **order: Any) -> dict[str, Any]:
    answer = call("POST", "/_local/faults", order)
    assert answer.status == 200, answer.body
    taken: dict[str, Any] = answer.json
    return taken


def _create(call: Driver, name: str = "n") -> Any:
    return call("POST", "/v1/containers", {"name": name})


def _count(call: Driver) -> int:
    return len(call("GET", "/_local/containers").json["data"])


def test_a_status_before_the_work_leaves_nothing(call: Driver) -> None:
    """The default: the request never reaches its handler."""
    _order(call, status=503)

    answer = _create(call)
    assert (503, "server_error", 0) == (answer.status, answer.error["type"], _count(call))
    assert _create(call).status == 200


def test_a_status_after_the_work_hides_it(call: Driver) -> None:
    """The container is there although the client is told otherwise."""
    _order(call, status=500, when="after")

    assert (500, 1) == (_create(call).status, _count(call))


def test_times_counts_requests(call: Driver) -> None:
    """An order is used up one request at a time, and shows how far it is."""
    _order(call, status=429, times=2, headers={"Retry-After": "1"})

    answers = [_create(call) for _ in range(3)]
    assert [429, 429, 200] == [answer.status for answer in answers]
    assert ("1", "rate_limit_exceeded") == (answers[0].headers["retry-after"], answers[0].error["code"])
    (state,) = call("GET", "/_local/faults").json["data"]
    assert (0, 2) == (state["remaining"], state["hits"])


def test_orders_are_applied_in_turn(call: Driver) -> None:
    """The first that matches is applied, alone."""
    _order(call, status=500)
    _order(call, status=503)

    assert [500, 503, 200] == [_create(call).status for _ in range(3)]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"method": "POST"}, [True, False, False, False]),
        ({"method": "GET"}, [False, True, True, False]),
        ({"path": "/v1/containers"}, [True, False, True, False]),
        ({"path": "/v1/containers/*"}, [False, True, False, True]),
        ({"path_regex": "/v1/containers/cntr_[0-9a-f]+"}, [False, True, False, True]),
        ({"name": "wanted"}, [True, True, True, True]),
        ({"name": "want*"}, [True, True, True, True]),
        ({"name": "other"}, [False] * 4),
        ({"method": "DELETE", "path": "/v1/*", "name": "w*"}, [False, False, False, True]),
    ],
    ids=str,
)
def test_matching(call: Driver, match: dict[str, str], hit: list[bool]) -> None:
    """Method, path and the container's name select requests; by id, the name is looked up."""
    container_id = _create(call, "wanted").json["id"]
    _order(call, status=418, times=100, **match)

    answers = [
        _create(call, "wanted"),
        call("GET", f"/v1/containers/{container_id}"),
        call("GET", "/v1/containers?name=wanted"),
        call("DELETE", f"/v1/containers/{container_id}"),
    ]
    assert hit == [answer.status == 418 for answer in answers]


def test_an_error_fills_the_envelope(call: Driver) -> None:
    """What is given replaces the default; the rest stays."""
    _order(call, status=429, error={"code": "insufficient_quota", "message": "No."})

    assert {"message": "No.", "type": "requests", "param": None, "code": "insufficient_quota"} == _create(
        call
    ).error


def test_a_body_is_sent_as_it_is(call: Driver) -> None:
    """A gateway's HTML page can be played."""
    _order(call, status=502, body="<html>é", content_type="text/html; charset=utf-8")

    answer = _create(call)
    assert (502, "<html>é".encode(), "text/html; charset=utf-8") == (
        answer.status,
        answer.body,
        answer.headers["content-type"],
    )


def test_headers_are_set_and_taken_away(call: Driver) -> None:
    """Headers go onto the true answer; null removes one."""
    _order(call, headers={"x-should-retry": "false", "X-Request-Id": None})

    answer = _create(call)
    assert (200, "false", False) == (
        answer.status,
        answer.headers["x-should-retry"],
        "x-request-id" in answer.headers,
    )


def test_malformed_json_is_complete_http(call: Driver) -> None:
    """The body is cut and its length fits."""
    _order(call, malformed=True)

    answer = _create(call)
    assert (200, len(answer.body)) == (answer.status, int(answer.headers["content-length"]))
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        _ = answer.json


def test_a_success_without_a_body(call: Driver) -> None:
    """204 has no body; another success is an empty object."""
    _order(call, status=204)
    _order(call, status=202)

    assert [(204, b""), (202, b"{}")] == [
        (answer.status, answer.body) for answer in (_create(call), _create(call))
    ]


def test_the_journal_names_the_fault(call: Driver) -> None:
    """A test can see which request was hit, and by what."""
    order = _order(call, status=500, when="after")
    _create(call)

    (entry,) = call("GET", "/_local/journal").json["data"]
    assert (f"{order['id']}: status 500 after", 500) == (entry["fault"], entry["status"])


def test_deleting_orders_tells_how_many_were_not_used(call: Driver) -> None:
    """A test can make sure that its faults happened."""
    _order(call, status=500)
    _order(call, status=500, path="/never")
    _create(call)

    assert {"deleted": True, "unused": 1} == call("DELETE", "/_local/faults").json
    assert _create(call).status == 200


@pytest.mark.parametrize(
    ("order", "param"),
    [
        ({}, "status"),
        ({"times": 3}, "status"),
        ({"reset": False, "truncate": False}, "status"),
        ({"statsu": 500}, "statsu"),
        ({"status": 99}, "status"),
        ({"status": 600}, "status"),
        ({"status": 500, "times": 0}, "times"),
        ({"status": 500, "when": "during"}, "when"),
        ({"status": 500, "method": "post"}, "method"),
        ({"status": 500, "path_regex": "("}, "path_regex"),
        ({"status": 500, "path": "/a", "path_regex": "/a"}, "path_regex"),
        ({"status": 500, "delay": -1}, "delay"),
        ({"status": 500, "error": {"massage": "x"}}, "error.massage"),
        ({"status": 200, "error": {"message": "x"}}, "error"),
        ({"error": {"message": "x"}}, "error"),
        ({"status": 500, "error": {}, "body": "x"}, "body"),
        ({"status": 500, "content_type": "text/html"}, "content_type"),
        ({"status": 204, "body": "x"}, "body"),
        ({"headers": {"a b": "x"}}, "headers.a b"),
        ({"headers": {"a": "x\r\ny: z"}}, "headers.a"),
        ({"headers": {"Content-Length": "5"}}, "headers.Content-Length"),
        ({"headers": {"a": 1}}, "headers.a"),
        ({"headers": []}, "headers"),
        ({"reset": True, "status": 500}, "status"),
        ({"reset": True, "truncate": 0}, "truncate"),
        ({"truncate": True, "malformed": True}, "malformed"),
        ({"truncate": -1}, "truncate"),
        ({"truncate": "x"}, "truncate"),
        ({"drip": {"bytes": 0, "seconds": 1}}, "drip.bytes"),
        ({"drip": {"bytes": 1}}, "drip.seconds"),
        ({"drip": 1}, "drip"),
    ],
    ids=str,
)
def test_wrong_orders_are_refused(call: Driver, order: dict[str, Any], param: str) -> None:
    """An order that makes no sense is refused with the field at fault, and not taken."""
    answer = call("POST", "/_local/faults", order)

    assert (400, param) == (answer.status, answer.error["param"])
    assert [] == call("GET", "/_local/faults").json["data"]


_SCALARS = st.none() | st.booleans() | st.integers(-2, 700) | st.text(max_size=8)
_FIELDS = (
    "method", "path", "path_regex", "name", "times", "when", "status", "error", "body", "content_type",
    "headers", "malformed",
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    order=st.dictionaries(
        st.sampled_from(_FIELDS), _SCALARS | st.dictionaries(st.text(max_size=4), _SCALARS, max_size=2)
    )
)
def test_no_order_breaks_the_server(call: Driver, order: dict[str, Any]) -> None:
    """Any order is taken or refused, and the next request gets an answer either way."""
    call("DELETE", "/_local/faults")

    assert call("POST", "/_local/faults", order).status in {200, 400}
    assert _create(call).status >= 200


@pytest.mark.parametrize(
    ("order", "param"),
    [
        ({"reset_after": -1}, "reset_after"),
        ({"reset_after": True}, "reset_after"),
        ({"reset_after": 1, "truncate": 0}, "truncate"),
        ({"reset_after": 1, "malformed": True}, "malformed"),
        ({"reset_after": 1, "reset": True}, "reset_after"),
        ({"reset_reading_after": "1"}, "reset_reading_after"),
        ({"reset_reading_after": 1, "status": 500}, "status"),
        ({"reset_reading_after": 1, "delay": 1}, "delay"),
        ({"reset_reading_after": 1, "name": "n"}, "name"),
        ({"truncate": True, "malformed": True}, "malformed"),
    ],
)
def test_orders_for_transfers_that_make_no_sense(call: Driver, order: dict[str, Any], param: str) -> None:
    """Each is refused at the field that is one too many, or wrong."""
    answer = call("POST", "/_local/faults", order)

    assert (400, param) == (answer.status, answer.error["param"])


def test_a_fault_while_reading_comes_first_and_waits_for_its_request(call: Driver) -> None:
    """It is looked at before the others, and leaves other paths alone."""
    _order(call, status=500)
    _order(call, path="/v1/files", reset_reading_after=5)

    assert 500 == _create(call).status
    assert [0, 1] == [fault["remaining"] for fault in call("GET", "/_local/faults").json["data"]]
