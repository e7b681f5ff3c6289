"""Files in containers, asked through the application."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.unit.local.conftest import Answer, Driver
from tests.unit.local.forms import (
    FORM,
    contents,
    form,
    make_container,
    part,
    post,
    state_of,
    upload_file,
)


def test_the_fields_of_a_container_file(call: Driver) -> None:
    """An upload has the service's fields and no others; the path is the server's choice."""
    container = make_container(call)
    file = upload_file(call, container, b"12345", "folder/a b.csv")

    assert len(file["id"]) == len("cfile_") + 32
    assert file["path"].startswith("/mnt/data/")
    assert file["path"].endswith("-a b.csv")
    assert {"id", "object", "created_at", "bytes", "container_id", "path", "source"} == file.keys()
    assert ("container.file", 5, container, "user") == (
        file["object"],
        file["bytes"],
        file["container_id"],
        file["source"],
    )


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.csv", "a.csv"),
        ("../../etc/passwd", "passwd"),
        ("..", ".."),
        ("", "upload"),
        ("folder/", "upload"),
        ("a%22b%0D%0A.txt", 'a"b__.txt'),
        ("größe 漢字.txt", "größe 漢字.txt"),
        ("tab\there", "tab_here"),
        ("n" * 300 + ".json", "n" * 217 + ".json"),
        ("é" * 200, "é" * 111),
    ],
)
def test_the_name_in_a_path(call: Driver, filename: str, name: str) -> None:
    """The last part of the client's name stays, bounded and without control characters."""
    container = make_container(call)
    path = upload_file(call, container, filename=filename)["path"]

    assert name == path.removeprefix("/mnt/data/")[33:]
    assert [path.rpartition("/")[2]] == contents(call)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends before its closing boundary"),
        (b"no form", "Could not parse the multipart body"),
        (form(part("file", b"x", "x"))[:-8], "ends before its closing boundary"),
        (form(part("file", b"x", "x"))[:60], "ends before its closing boundary"),
        (form(), "Missing required parameter: 'file'."),
        (form(part("file", b"x")), "expected a file, but got a text"),
        (form(part("file", b"x", "x"), part("file", b"y", "y")), "too many files. Expected one file."),
        (form(part("path", b"/mnt/data/x")), "Unknown parameter: 'path'."),
        (form(part("file", b"x", "x"), part("file_id", b"file-1")), "either a form with 'file' or a JSON"),
        (form(part("file_id", b"file-1")), "either a form with 'file' or a JSON"),
        (form(part("", b"x")), "A part of the form has no name."),
        (b"--limit\r\nX-Long: " + b"x" * 10_000, "header"),
        (b'--limit\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\n', "is not UTF-8"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_forms_that_are_refused(call: Driver, content: bytes, message: str) -> None:
    """Each is a 400 that says why, and leaves nothing behind."""
    container = make_container(call)
    answer = call("POST", f"/v1/containers/{container}/files", content=content, headers=FORM)

    assert 400 == answer.status
    assert message in answer.error["message"]
    assert [] == contents(call)


def test_a_body_that_is_cut_is_not_carried_out(call: Driver) -> None:
    """A client that leaves in the middle gets no file made, even if its form was whole."""
    container = make_container(call)
    content = form(part("file", b"x" * 1000, "x"))
    for length in (100, len(content)):
        call("POST", f"/v1/containers/{container}/files", content=content[:length], headers=FORM, cut=True)

    assert [] == call("GET", f"/v1/containers/{container}/files").json["data"]
    assert [] == contents(call)


def test_a_file_over_the_limit(call: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer file is a 413, the body is read to its end, and nothing stays."""
    from airflow_containers.local.container_files import responses, schemas
    from airflow_containers.local.forms import FileRule, FormRule

    assert 512 << 20 == schemas.MAX_FILE_BYTES == schemas.FORM.files["file"].max_bytes
    monkeypatch.setattr(responses, "FORM", FormRule({"file": FileRule(1000)}, 1000))
    container = make_container(call)
    path = f"/v1/containers/{container}/files"

    assert 200 == post(call, path, part("file", b"x" * 1000, "x")).status
    answer = post(call, path, part("file", b"x" * 1001, "x"), chunks=5)
    assert (413, "File in 'file' too large. Expected at most 1000 bytes.") == (
        answer.status,
        answer.error["message"],
    )
    assert 1 == len(contents(call))


def test_a_container_that_has_expired_takes_part_in_nothing(call: Driver) -> None:
    """Every operation is the service's 400, and the bytes are gone from the disk, without a question."""
    container = make_container(call)
    file = upload_file(call, container)
    call("POST", "/_local/clock", {"advance": 1200})
    assert [] == contents(call)

    path = f"/v1/containers/{container}/files"
    answers = [
        post(call, path, part("file", b"x", "x")),
        call("POST", path, {"file_id": "file-1"}),
        call("GET", path),
        call("GET", f"{path}/{file['id']}"),
        call("GET", f"{path}/{file['id']}/content"),
        call("DELETE", f"{path}/{file['id']}"),
    ]
    for answer in answers:
        assert 400 == answer.status
        assert {
            "message": "Container is expired.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        } == answer.error
    assert "expired" == call("GET", f"/v1/containers/{container}").json["status"]


def test_every_operation_keeps_the_container_alive(call: Driver) -> None:
    """All of them set `last_active_at`, so that 15 idle minutes before each are no end."""
    call("POST", "/_local/files/file-1", content=b"x")
    container = make_container(call)
    path = f"/v1/containers/{container}/files"
    file = upload_file(call, container)["id"]
    steps: list[Callable[[], Answer]] = [
        lambda: post(call, path, part("file", b"x", "x")),
        lambda: call("POST", path, {"file_id": "file-1"}),
        lambda: call("GET", path),
        lambda: call("GET", f"{path}/{file}"),
        lambda: call("GET", f"{path}/{file}/content"),
        lambda: call("DELETE", f"{path}/{file}"),
    ]
    for step in steps:
        call("POST", "/_local/clock", {"advance": 900})
        assert 200 == step().status


def test_deleting_takes_the_bytes(call: Driver) -> None:
    """A deleted file is gone from the disk, a deleted container with all its files."""
    container = make_container(call)
    first, _ = upload_file(call, container), upload_file(call, container)
    call("DELETE", f"/v1/containers/{container}/files/{first['id']}")
    assert 1 == len(contents(call))
    call("DELETE", f"/v1/containers/{container}")

    assert [] == contents(call)
    assert 404 == call("GET", f"/v1/containers/{container}/files").status


@pytest.mark.parametrize("other", ["container", "cursor", "file"])
def test_files_belong_to_their_container(call: Driver, other: str) -> None:
    """Neither by id nor as a cursor is a file found in another container."""
    mine, theirs = make_container(call), make_container(call)
    file = upload_file(call, theirs)["id"]
    answer = {
        "container": lambda: call("GET", f"/v1/containers/cntr_0/files/{file}"),
        "cursor": lambda: call("GET", f"/v1/containers/{mine}/files?after={file}"),
        "file": lambda: call("GET", f"/v1/containers/{mine}/files/{file}/content"),
    }[other]()

    expected = {
        "container": (404, "Container with id 'cntr_0' not found."),
        "cursor": (
            400,
            "Invalid 'after': no container file with this id. Expected the id of a container file",
        ),
        "file": (404, "File not found."),
    }[other]
    assert expected[0] == answer.status
    assert answer.error["message"].startswith(expected[1])


def test_pages(call: Driver) -> None:
    """Both orders, and a cursor that was deleted in the meantime."""
    container = make_container(call)
    ids = [upload_file(call, container)["id"] for _ in range(5)]
    path = f"/v1/containers/{container}/files"
    first = call("GET", f"{path}?limit=2").json

    assert (ids[:2:-1], True, ids[4], ids[3]) == (
        [file["id"] for file in first["data"]],
        first["has_more"],
        first["first_id"],
        first["last_id"],
    )
    call("DELETE", f"{path}/{ids[3]}")
    assert ids[2::-1] == [file["id"] for file in call("GET", f"{path}?after={ids[3]}").json["data"]]
    assert [ids[0]] == [file["id"] for file in call("GET", f"{path}?order=asc&limit=1").json["data"]]
    for query, after in (("", ids[:2][::-1]), ("&order=asc", ids[4:])):
        listed = call("GET", f"{path}?after={ids[2]}{query}").json["data"]
        assert after == [file["id"] for file in listed]
    assert 400 == call("GET", f"{path}?limit=101").status
    assert 400 == call("GET", f"{path}?path=x").status


def test_the_files_of_commands(call: Driver) -> None:
    """Entries at any path, without a size, without contents; one at the same path gives way."""
    container = make_container(call)
    admin = f"/_local/containers/{container}/files"
    path = f"/v1/containers/{container}/files"
    odd = [
        "/mnt/data/out/report.csv",
        "/mnt/data/a.csv /mnt/data/b.csv",
        "/tmp/x",
        "../../x",
        "/mnt/data/../x",
        "",
    ]
    for name in odd:
        assert 200 == call("POST", f"{admin}?path={quote(name)}", content=name.encode()).status
    listed = {file["path"]: file for file in call("GET", path).json["data"]}
    assert set(odd) == listed.keys()
    assert {"assistant"} == {file["source"] for file in listed.values()}
    for name, file in listed.items():
        assert name.encode() == call("GET", f"{path}/{file['id']}/content").body
    folder = state_of(call) / "containers" / container
    assert {"data", "other"} == {entry.name for entry in folder.iterdir()}

    null = call("POST", f"{admin}?path=/mnt/data/n&null_bytes=true", content=b"123").json
    assert (None, b"123") == (null["bytes"], call("GET", f"{path}/{null['id']}/content").body)
    broken = call("POST", f"{admin}?path=/mnt/data/m&no_content=true&source=user").json
    assert (None, "user", 200) == (
        broken["bytes"],
        broken["source"],
        call("GET", f"{path}/{broken['id']}").status,
    )
    answer = call("GET", f"{path}/{broken['id']}/content")
    assert (404, f"File {broken['id']} not found on container {container}") == (
        answer.status,
        answer.error["message"],
    )
    again = call("POST", f"{admin}?path=/mnt/data/n", content=b"new").json
    listed = {file["path"]: file for file in call("GET", path).json["data"]}
    assert again["id"] == listed["/mnt/data/n"]["id"] != null["id"]


def test_files_where_others_have_a_folder(call: Driver) -> None:
    """What no file system takes is listed all the same: below a file, in place of a folder, far too deep."""
    container = make_container(call)
    names = ["a", "a/b", "a/b/c", "d/e", "d", "/".join(["x" * 250] * 20), "y" * 256]
    for name in names:
        answer = call(
            "POST", f"/_local/containers/{container}/files?path=/mnt/data/{name}", content=name.encode()
        )
        assert 200 == answer.status
    path = f"/v1/containers/{container}/files"

    listed = call("GET", path).json["data"]
    assert {f"/mnt/data/{name}" for name in names} == {file["path"] for file in listed}
    for file in listed:
        content = call("GET", f"{path}/{file['id']}/content").body
        assert file["path"] == f"/mnt/data/{content.decode()}"


@pytest.mark.parametrize(
    ("sent", "status", "body", "shown"),
    [
        ("bytes=0-4", 206, b"01234", "bytes 0-4/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99999999999999999999999", 206, b"89", "bytes 8-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=99999999999999999999999-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=", 200, b"0123456789", None),
    ],
)
def test_ranges(call: Driver, sent: str, status: int, body: bytes, shown: str | None) -> None:
    """One range of bytes is served; what is none is ignored, as the standard has it."""
    container = make_container(call)
    file = upload_file(call, container, b"0123456789")["id"]
    answer = call("GET", f"/v1/containers/{container}/files/{file}/content", headers={"range": sent})

    assert (status, body, shown) == (answer.status, answer.body, answer.headers.get("content-range"))
    assert ("bytes", str(len(body))) == (answer.headers["accept-ranges"], answer.headers["content-length"])


def test_if_range_and_the_quirk(call: Driver) -> None:
    """A part is sent only of what the client has; without ranges, there is no sign of them."""
    container = make_container(call)
    path = f"/v1/containers/{container}/files/{upload_file(call, container, b'0123456789')['id']}/content"
    etag = call("GET", path).headers["etag"]
    part = {"range": "bytes=5-"}

    assert 206 == call("GET", path, headers=part | {"if-range": etag}).status
    assert 200 == call("GET", path, headers=part | {"if-range": '"other"'}).status
    assert 200 == call("GET", path, headers=part | {"if-range": "Sat, 29 Oct 1994 19:43:31 GMT"}).status
    call("POST", "/_local/quirks", {"ranges": False})
    answer = call("GET", path, headers=part)
    assert (200, b"0123456789") == (answer.status, answer.body)
    assert not {"etag", "accept-ranges", "content-range"} & answer.headers.keys()


def test_no_browser_takes_contents_for_a_page(call: Driver) -> None:
    """Whatever was uploaded, it is bytes and nothing of this server's own."""
    container = make_container(call)
    file = upload_file(call, container, b"<script></script>", "x.html")
    headers = call("GET", f"/v1/containers/{container}/files/{file['id']}/content").headers

    assert ("application/octet-stream", "nosniff") == (
        headers["content-type"],
        headers["x-content-type-options"],
    )


def test_a_file_that_is_referred_to_must_be_there(call: Driver) -> None:
    """An unknown id is a 400 at the field that has it, and no container is made."""
    container = make_container(call)
    copy = call("POST", f"/v1/containers/{container}/files", {"file_id": "file-x"})
    create = call("POST", "/v1/containers", {"name": "n", "file_ids": ["file-x"]})

    assert (400, "file_id") == (copy.status, copy.error["param"])
    assert (400, "file_ids[0]", "Invalid 'file_ids[0]': No such File object: file-x") == (
        create.status,
        create.error["param"],
        create.error["message"],
    )
    assert 1 == len(call("GET", "/_local/containers").json["data"])
    for body in ({}, {"file_id": "x", "file": "y"}, {"path": "x"}):
        assert 400 == call("POST", f"/v1/containers/{container}/files", body).status


def test_a_file_that_is_too_long_to_be_copied(call: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Upload can make a longer File than a container takes: it is refused, later and at creation."""
    from airflow_containers.local.container_files import models
    from airflow_containers.local.containers import staging

    for module in (models, staging):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 4)
    call("POST", "/_local/files/file-1", content=b"12345")
    container = make_container(call)
    answers = [
        call("POST", f"/v1/containers/{container}/files", {"file_id": "file-1"}),
        call("POST", "/v1/containers", {"name": "n", "file_ids": ["file-1"]}),
    ]

    assert [(400, "file_id"), (400, "file_ids[0]")] == [
        (each.status, each.error["param"]) for each in answers
    ]
    assert "Expected a file of at most 4 bytes, but got one of 5 bytes." in answers[1].error["message"]
    assert ["file-1"] == contents(call)
