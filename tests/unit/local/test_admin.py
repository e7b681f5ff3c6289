"""Reset, seed, clock, quirks and the view of all containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.skill_zip import inline_skill
from tests.unit.local.conftest import Driver


def _ids(call: Driver, count: int = 3) -> list[str]:
    return [call("POST", "/v1/containers", {"name": "n"}).json["id"] for _ in range(count)]


def test_health(call: Driver) -> None:
    """Health needs no key and names the version."""
    answer = call("GET", "/_local/health", headers={"authorization": ""})

    assert (200, "ok", "0.1.0") == (answer.status, answer.json["status"], answer.json["version"])


def test_reset_puts_everything_back(call: Driver) -> None:
    """Containers, journal, faults, quirks, seed and clock are as on the first day."""
    call("POST", "/_local/seed", {"seed": 1})
    call("POST", "/_local/clock", {"advance": 5000})
    call("POST", "/_local/quirks", {"ghost_seconds": 5})
    call("POST", "/_local/faults", {"status": 500, "path": "/never"})
    first = _ids(call)

    assert call("POST", "/_local/reset").status == 200
    assert [] == call("GET", "/_local/containers").json["data"]
    assert [] == call("GET", "/_local/journal").json["data"]
    assert [] == call("GET", "/_local/faults").json["data"]
    assert {"ghost_seconds": 0.0, "visibility_delay_seconds": 0.0, "ranges": True} == call(
        "GET", "/_local/quirks"
    ).json
    assert call("GET", "/_local/clock").json["offset"] == 0
    assert not set(first) & set(_ids(call))


def test_the_same_seed_gives_the_same_ids(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """Container ids and request ids repeat after a reset, and on another server."""
    runs = []
    for call in (make_app(tmp_path / "a"), make_app(tmp_path / "b")):
        for _ in range(2):
            call("POST", "/_local/reset")
            call("POST", "/_local/seed", {"seed": -7})
            runs.append((_ids(call), call("GET", "/v1/containers").headers["x-request-id"]))

    assert [runs[0]] * 4 == runs
    assert len(set(runs[0][0])) == 3


def test_another_seed_gives_other_ids(call: Driver) -> None:
    """Seeds do not share ids."""
    call("POST", "/_local/seed", {"seed": 1})
    first = _ids(call)
    call("POST", "/_local/seed", {"seed": 2})

    assert not set(first) & set(_ids(call))


def test_a_seed_that_is_set_again_gives_no_id_twice(call: Driver) -> None:
    """Ids that are taken are passed over."""
    call("POST", "/_local/seed", {"seed": 1})
    first = _ids(call)
    call("POST", "/_local/seed", {"seed": 1})

    assert not set(first) & set(_ids(call))


def test_clock_seed_and_quirks_survive_a_restart(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """A server on the same directory goes on where the last one stopped."""
    first = make_app(tmp_path / "s")
    first("POST", "/_local/seed", {"seed": 3})
    first("POST", "/_local/clock", {"advance": 100})
    first("POST", "/_local/clock", {"advance": 0.5})
    first("POST", "/_local/quirks", {"visibility_delay_seconds": 2})
    before = _ids(first)
    first.app.close()
    second = make_app(tmp_path / "s")

    assert second("GET", "/_local/clock").json["offset"] == 100.5
    assert second("GET", "/_local/quirks").json["visibility_delay_seconds"] == 2
    assert not set(before) & set(_ids(second))


def test_ghosts_stay_in_lists_only(call: Driver) -> None:
    """A deleted id is listed for its time, while a look at it is a 404 at once."""
    call("POST", "/_local/quirks", {"ghost_seconds": 60})
    (container_id,) = _ids(call, 1)
    call("DELETE", f"/v1/containers/{container_id}")

    assert [container_id] == [row["id"] for row in call("GET", "/v1/containers").json["data"]]
    assert call("GET", f"/v1/containers/{container_id}").status == 404
    call("POST", "/_local/clock", {"advance": 60})
    assert [] == call("GET", "/v1/containers").json["data"]


def test_new_containers_can_show_up_late(call: Driver) -> None:
    """With a visibility delay, a new id answers at once and is listed later."""
    call("POST", "/_local/quirks", {"visibility_delay_seconds": 30})
    (container_id,) = _ids(call, 1)

    assert [] == call("GET", "/v1/containers?name=n").json["data"]
    assert call("GET", f"/v1/containers/{container_id}").status == 200
    call("POST", "/_local/clock", {"advance": 30})
    assert [container_id] == [row["id"] for row in call("GET", "/v1/containers?name=n").json["data"]]


def test_the_view_of_all_containers(call: Driver) -> None:
    """Deleted and expired ones are there, with what the API never shows, but no secret value."""
    body: dict[str, Any] = {
        "name": "n",
        "file_ids": ["file-1"],
        "skills": [inline_skill()],
        "network_policy": {
            "type": "allowlist",
            "allowed_domains": ["api.example.com"],
            "domain_secrets": [{"domain": "api.example.com", "name": "K", "value": "canary"}],
        },
    }
    call("POST", "/_local/files/file-1", content=b"x")
    call("POST", "/v1/containers", body)
    assert [["s-inline"]] == [row["skills"] for row in call("GET", "/_local/containers").json["data"]]
    call("POST", "/_local/clock", {"advance": 1300})
    gone, _ = _ids(call, 2)
    call("DELETE", f"/v1/containers/{gone}")

    answer = call("GET", "/_local/containers")
    rows = answer.json["data"]
    assert ["expired", "deleted", "running"] == [row["status"] for row in rows]
    assert [False, True, False] == [row["deleted_at"] is not None for row in rows]
    assert {
        "file_ids": ["file-1"],
        "skills": [{"type": "inline", "name": "s", "description": "d"}],
        "domain_secrets": [{"domain": "api.example.com", "name": "K"}],
    } == rows[0]["requested"]
    assert [[], [], []] == [row["skills"] for row in rows]
    assert b"canary" not in answer.body


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("seed", {}, "seed"),
        ("seed", {"seed": "1"}, "seed"),
        ("clock", {"advance": -1}, "advance"),
        ("clock", {"advance": 1e300}, "advance"),
        ("clock", {"advance": True}, "advance"),
        ("quirks", {"ghost": 1}, "ghost"),
        ("quirks", {"ghost_seconds": -1}, "ghost_seconds"),
    ],
)
def test_wrong_orders_are_refused(call: Driver, path: str, body: object, param: str) -> None:
    """A mistake in a test's order is said, not ignored."""
    answer = call("POST", f"/_local/{path}", body)

    assert (400, param) == (answer.status, answer.error["param"])


def test_another_machine_needs_a_key(make_app: Callable[..., Driver], tmp_path: Path) -> None:
    """Without a key, the admin endpoints answer this machine only."""
    assert make_app(tmp_path / "a", client="192.0.2.7")("GET", "/_local/health").status == 403
    assert make_app(tmp_path / "b", client="192.0.2.7", api_key="any")("GET", "/_local/health").status == 200


_FROM_A_PAGE = [
    {"origin": "https://www.example.com"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8645"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"host": "rebound.example.com:8645"},
    {"host": "127.0.0.1.example.com"},
    {"host": "192.0.2.7"},
    {"host": "testclient"},
    {"host": "[::2]:8645"},
    {"host": "user@localhost"},
]


@pytest.mark.parametrize("headers", _FROM_A_PAGE, ids=str)
def test_web_pages_give_no_orders(call: Driver, headers: dict[str, str]) -> None:
    """What a browser sends for a page, or to a name that only leads here, is refused and not done."""
    (container_id,) = _ids(call, 1)

    answer = call("POST", "/_local/reset", headers={"content-type": "text/plain", **headers})
    assert answer.status == 403
    assert next(iter(headers)) in answer.error["message"].lower()
    assert "--api-key" in answer.error["message"]
    assert [container_id] == [row["id"] for row in call("GET", "/_local/containers").json["data"]]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8645"},
        {"host": "localhost:8645"},
        {"host": "LocalHost"},
        {"host": "[::1]:8645"},
        {"host": "127.8.9.1"},
        {"host": "localhost:8645", "sec-fetch-site": "none"},
        {"host": "localhost:8645", "sec-fetch-site": "same-origin"},
    ],
    ids=str,
)
def test_this_machine_under_any_of_its_names_gives_orders(call: Driver, headers: dict[str, str]) -> None:
    """Command lines, test suites, and an address typed into a browser."""
    assert call("POST", "/_local/reset", headers=headers).status == 200


def test_requests_without_a_socket_may_use_any_name(make_app: Callable[..., Driver]) -> None:
    """Starlette's test client calls the application itself and names its host `testserver`."""
    call = make_app(client="testclient")

    assert call("POST", "/_local/reset", headers={"host": "testserver"}).status == 200


@pytest.mark.parametrize("headers", _FROM_A_PAGE, ids=str)
def test_with_a_key_the_key_decides(make_app: Callable[..., Driver], headers: dict[str, str]) -> None:
    """A page does not know it."""
    assert make_app(api_key="any")("POST", "/_local/reset", headers=headers).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://www.example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost.example.com:8645"}, 403),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "http://[::1]"}, 200),
        ({"host": "containers.example.com"}, 200),
    ],
    ids=str,
)
def test_the_api_is_for_no_foreign_page_either(
    make_app: Callable[..., Driver], tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    """As any key is accepted, a page of another host is refused; a proxy under another name is not."""
    call = make_app(tmp_path / "a")
    with_key = make_app(tmp_path / "b", api_key="any")

    answer = call("POST", "/v1/containers", {"name": "n"}, headers=headers)
    assert status == answer.status
    assert (status == 200) == bool(call("GET", "/v1/containers").json["data"])
    assert with_key("POST", "/v1/containers", {"name": "n"}, headers=headers).status == 200
