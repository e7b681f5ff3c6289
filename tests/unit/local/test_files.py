"""Files and Uploads, asked through the application."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_containers.local import blobs as blobs_module
from tests.unit.local.conftest import Driver
from tests.unit.local.forms import (
    BOUNDARY,
    contents,
    form,
    make_upload,
    part,
    post,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    data=st.binary(max_size=300) | st.text("\r\n-limt", max_size=200).map(str.encode),
    chunks=st.integers(1, 400),
)
def test_any_bytes_in_any_pieces(call: Driver, data: bytes, chunks: int) -> None:
    """What comes back is what was sent, also if it looks like a boundary, however the body was cut."""
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + data:
        return
    answer = post(call, "/v1/files", part("purpose", b"user_data"), part("file", data, "x"), chunks=chunks)

    assert (200, len(data)) == (answer.status, answer.json["bytes"])
    assert data == call("GET", f"/v1/files/{answer.json['id']}/content").body
    assert (
        hashlib.sha256(data).hexdigest()
        in call("GET", f"/v1/files/{answer.json['id']}/content").headers["etag"]
    )


def test_without_a_key_nothing_is_stored(make_app: Callable[..., Driver], monkeypatch: Any) -> None:
    """The key is checked before the body is read: a stranger cannot fill the disk."""
    call = make_app(api_key="right")
    made: list[Path] = []
    monkeypatch.setattr(blobs_module.Incoming, "__init__", lambda _self, path: made.append(path))
    answer = post(call, "/v1/files", part("purpose", b"user_data"), part("file", b"x", "x"))

    assert (401, []) == (answer.status, made)


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ((), "purpose", "missing_required_parameter"),
        ((part("purpose", b"assistants_output"),), "purpose", "invalid_value"),
        ((part("purpose", b"evals"), part("more", b"x")), "more", "unknown_parameter"),
        ((part("purpose", b"evals"), part("purpose", b"evals")), "purpose", "invalid_value"),
        ((part("purpose", b"x" * 70_000),), "purpose", "string_above_max_length"),
        (
            (part("purpose", b"evals"), part("expires_after[anchor]", b"created_at")),
            "expires_after.seconds",
            "missing_required_parameter",
        ),
        (
            (
                part("purpose", b"evals"),
                part("expires_after[anchor]", b"created_at"),
                part("expires_after[seconds]", b"3599"),
            ),
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            (
                part("purpose", b"evals"),
                part("expires_after[anchor]", b"last_active_at"),
                part("expires_after[seconds]", b"3600"),
            ),
            "expires_after.anchor",
            "invalid_value",
        ),
    ],
)
def test_fields_of_a_file_that_are_refused(
    call: Driver, parts: tuple[bytes, ...], param: str, code: str
) -> None:
    """Field and code are named; nothing is stored."""
    answer = post(call, "/v1/files", part("file", b"x", "x"), *parts)

    assert (400, param, code) == (answer.status, answer.error["param"], answer.error["code"])
    assert [] == contents(call)


def test_files_expire(call: Driver) -> None:
    """After their seconds they are gone with their bytes; `batch` has 30 days, others stay."""
    for purpose in (b"user_data", b"batch"):
        post(call, "/v1/files", part("file", b"x", "x"), part("purpose", purpose))
    short = post(
        call,
        "/v1/files",
        part("file", b"x", "x"),
        part("purpose", b"vision"),
        part("expires_after[anchor]", b"created_at"),
        part("expires_after[seconds]", b"3600"),
    ).json["id"]
    call("POST", "/_local/clock", {"advance": 3600})
    assert 404 == call("GET", f"/v1/files/{short}").status
    assert 2 == len(contents(call))
    call("POST", "/_local/clock", {"advance": 30 * 86400})

    assert ["user_data"] == [file["purpose"] for file in call("GET", "/v1/files").json["data"]]
    assert 1 == len(contents(call))


def test_what_an_upload_refuses(call: Driver) -> None:
    """Too many bytes, too few, unknown and repeated parts, another checksum, and all after its end."""
    upload = make_upload(call, 10)
    path = f"/v1/uploads/{upload}"
    first = post(call, f"{path}/parts", part("data", b"12345678", "x")).json["id"]
    too_many = post(call, f"{path}/parts", part("data", b"123", "x"))
    assert (400, "data") == (too_many.status, too_many.error["param"])
    for part_ids, param in [
        ([first], "part_ids"),
        ([first, first], "part_ids[1]"),
        (["part_x"], "part_ids[0]"),
    ]:
        answer = call("POST", f"{path}/complete", {"part_ids": part_ids})
        assert (400, param) == (answer.status, answer.error["param"])
    assert 400 == call("POST", f"{path}/complete", {"part_ids": []}).status
    last = post(call, f"{path}/parts", part("data", b"9a", "x")).json["id"]
    wrong = {"part_ids": [first, last], "md5": "0" * 32}
    assert (400, "md5") == ((answer := call("POST", f"{path}/complete", wrong)).status, answer.error["param"])
    right = wrong | {"md5": hashlib.md5(b"123456789a").hexdigest().upper()}
    done = call("POST", f"{path}/complete", right)
    assert (200, "completed", 10) == (done.status, done.json["status"], done.json["file"]["bytes"])
    for ended in (
        call("POST", f"{path}/complete", right),
        call("POST", f"{path}/cancel"),
        post(call, f"{path}/parts", part("data", b"1", "x")),
    ):
        assert (400, f"Upload {upload} is completed. Expected a pending one.") == (
            ended.status,
            ended.error["message"],
        )
    assert 1 == len(contents(call))
    assert 404 == call("POST", "/v1/uploads/upload_x/cancel").status


def test_uploads_expire_and_are_cancelled_with_their_parts(call: Driver) -> None:
    """An hour after its creation, or at a cancel, the bytes of the parts are gone."""
    cancelled, expired = make_upload(call, 10), make_upload(call, 10)
    for upload in (cancelled, expired):
        post(call, f"/v1/uploads/{upload}/parts", part("data", b"1", "x"))
    call("POST", f"/v1/uploads/{cancelled}/cancel")
    assert 1 == len(contents(call))
    call("POST", "/_local/clock", {"advance": 3600})

    assert [] == contents(call)
    answer = post(call, f"/v1/uploads/{expired}/parts", part("data", b"1", "x"))
    assert f"Upload {expired} is expired. Expected a pending one." == answer.error["message"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), min_size=1, max_size=8
    ),
    cut=st.none() | st.floats(0, 1),
    chunks=st.integers(1, 50),
    boundary=st.sampled_from([BOUNDARY, "", "x" * 300, '"limit"', "limit; boundary=x", "\xe9"]),
)
def test_no_form_is_an_accident(
    call: Driver, changes: list[tuple[float, bytes]], cut: float | None, chunks: int, boundary: str
) -> None:
    """A form with any of its bytes changed, or cut short, is carried out or refused, and leaves nothing."""
    content = bytearray(form(part("purpose", b"user_data"), part("file", b"12345" * 20, "größe.txt")))
    for place, piece in changes:
        start = int(place * len(content))
        content[start : start + len(piece)] = piece
    body = bytes(content if cut is None else content[: int(cut * len(content))])
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = call("POST", "/v1/files", content=body, headers=headers, chunks=chunks)

    assert answer.status in {200, 400}
    if answer.status == 200:
        assert 200 == call("DELETE", f"/v1/files/{answer.json['id']}").status
    assert [] == contents(call)
    assert 200 == call("GET", "/_local/journal").status
