"""Files of the local server over real connections: large ones, faults in the middle, clients that leave."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_containers.testing import LocalServer, LocalServerError
from tests.support.server_output import complaints

DATA = random.Random(3).randbytes(3_000_000)
_BIG = 160 << 20
_FLAT = 16
"""MiB that the server may grow by while it moves :data:`_BIG` bytes."""


@pytest.fixture(scope="module")
def process() -> Iterator[LocalServer]:
    """One server for this module."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def server(process: LocalServer) -> LocalServer:
    """That server, emptied."""
    process.reset()
    return process


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    """A client for it."""
    headers = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def container(client: httpx.Client) -> str:
    """A new container's id."""
    container_id: str = client.post("/containers", json={"name": "n"}).json()["id"]
    return container_id


def _contents(server: LocalServer) -> list[Path]:
    folders = [server.state_dir / name for name in ("containers", "files", "uploads", "skills", "incoming")]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def _peak_mebibytes(server: LocalServer) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _upload(client: httpx.Client, container: str, data: bytes = DATA) -> str:
    answer = client.post(f"/containers/{container}/files", files={"file": ("a.bin", data)})
    assert 200 == answer.status_code, answer.text
    file_id: str = answer.json()["id"]
    return file_id


def _broken_download(client: httpx.Client, path: str) -> tuple[bytes, httpx.Response, httpx.TransportError]:
    got = b""
    with client.stream("GET", path) as answer:
        try:
            for piece in answer.iter_raw():
                got += piece
        except httpx.TransportError as error:
            return got, answer, error
    raise AssertionError("the answer came to its end")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_large_files_stream(
    server: LocalServer, client: httpx.Client, container: str, tmp_path: Path
) -> None:
    """160 MiB up, copied and down again, byte for byte, in memory that stays as it was."""
    path, expected = tmp_path / "big", hashlib.sha256()
    with path.open("wb") as out:
        for number in range(_BIG >> 20):
            out.write(piece := random.Random(number).randbytes(1 << 20))
            expected.update(piece)
    _upload(client, container)
    before = _peak_mebibytes(server)
    with path.open("rb") as content:
        uploaded = client.post(
            "/files", data={"purpose": "user_data"}, files={"file": ("big", content)}
        ).json()
    copied = client.post(f"/containers/{container}/files", json={"file_id": uploaded["id"]}).json()
    for url in (f"/files/{uploaded['id']}/content", f"/containers/{container}/files/{copied['id']}/content"):
        found = hashlib.sha256()
        with client.stream("GET", url) as answer:
            for piece in answer.iter_raw():
                found.update(piece)
        assert expected.digest() == found.digest()
        assert f'"{found.hexdigest()}"' == answer.headers["etag"]
    assert _BIG == uploaded["bytes"] == copied["bytes"]
    assert _peak_mebibytes(server) - before < _FLAT


def test_others_are_served_while_a_file_comes_in(
    server: LocalServer, client: httpx.Client, container: str
) -> None:
    """A slow upload holds up nobody, and its file is not there before it is whole."""
    go_on = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + DATA
        go_on.wait(30)
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    with ThreadPoolExecutor(1) as pool:
        path = f"/containers/{container}/files"
        upload = pool.submit(client.post, path, content=slow(), headers=headers)
        assert _until(lambda: bool(_contents(server)))
        assert [] == client.get(path).json()["data"]
        go_on.set()
        assert [upload.result().json()] == client.get(path).json()["data"]


@pytest.mark.parametrize("how", ["leaves", "too late"])
def test_what_becomes_of_an_upload_that_is_not_finished(
    server: LocalServer, client: httpx.Client, container: str, how: str
) -> None:
    """A client that leaves, or a container that expires in the meantime: no file, and no bytes on disk."""
    target = urlsplit(server.base_url)
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + DATA
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
    connection.putrequest("POST", f"/v1/containers/{container}/files")
    for name, value in (
        ("authorization", "Bearer x"),
        ("content-type", "multipart/form-data; boundary=b"),
        ("content-length", str(len(body) + 9)),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body)
    assert _until(lambda: bool(_contents(server)))
    if how == "leaves":
        connection.close()
        assert _until(lambda: not _contents(server))
        assert [] == client.get(f"/containers/{container}/files").json()["data"]
    else:
        server.advance_clock(1200)
        connection.send(b"\r\n--b--\r\n")
        answer = connection.getresponse()
        assert (400, True) == (answer.status, b"Container is expired." in answer.read())
        assert _until(lambda: not _contents(server))
    assert [] == complaints(server.stderr)


@pytest.mark.parametrize("after", [0, 1, 1_000_000, len(DATA) - 1])
def test_a_reset_in_the_middle_of_an_answer(
    server: LocalServer, client: httpx.Client, container: str, after: int
) -> None:
    """The length is announced, as many bytes come as were ordered, then the connection is reset."""
    path = f"/containers/{container}/files/{_upload(client, container)}/content"
    server.order_fault(method="GET", path="*/content", reset_after=after)
    got, answer, _ = _broken_download(client, path)

    assert (200, str(len(DATA))) == (answer.status_code, answer.headers["content-length"])
    assert DATA.startswith(got)
    assert len(got) <= after
    assert DATA == client.get(path).content
    rest = client.get(path, headers={"range": f"bytes={len(got)}-", "if-range": answer.headers["etag"]})
    assert DATA == got + rest.content


@pytest.mark.parametrize("cut", [0, 1, 2_000_000, len(DATA)])
def test_a_truncated_answer(server: LocalServer, client: httpx.Client, container: str, cut: int) -> None:
    """More is announced than is sent; the connection ends in good order."""
    path = f"/containers/{container}/files/{_upload(client, container)}/content"
    server.order_fault(method="GET", path="*/content", truncate=cut)
    got, answer, error = _broken_download(client, path)

    assert "without sending complete message body" in str(error)
    assert DATA[:cut] == got
    assert max(len(DATA), cut + 1) == int(answer.headers["content-length"])


@pytest.mark.parametrize("after", [0, 100_000, 100_000_000])
def test_a_reset_while_a_body_is_read(
    server: LocalServer, client: httpx.Client, container: str, after: int
) -> None:
    """What has come is not carried out; the journal knows of it; the next try works."""
    path = f"/v1/containers/{container}/files"
    server.order_fault(method="POST", path=path, reset_reading_after=after)
    with pytest.raises(httpx.TransportError):
        _upload(client, container)

    (entry,) = server.requests("POST", path)
    assert (None, "fault_1: reset_reading_after") == (
        entry.status,
        (entry.fault or "").rpartition(" ")[0].rpartition(" ")[0],
    )
    assert min(after, len(DATA)) <= entry.body_bytes
    assert ([], []) == (client.get(f"/containers/{container}/files").json()["data"], _contents(server))
    _upload(client, container)


def test_other_faults_on_transfers(server: LocalServer, client: httpx.Client, container: str) -> None:
    """An upload that was done and not answered, one that was never done, a dripping and a short download."""
    path = f"/v1/containers/{container}/files"
    for when, status in (("after", 500), ("before", 503)):
        server.order_fault(method="POST", path=path, status=status, when=when)
        answer = client.post(f"/containers/{container}/files", files={"file": ("a", b"0123456789")})
        assert status == answer.status_code
    server.order_fault(method="POST", path=path, reset=True, when="after")
    with pytest.raises(httpx.TransportError):
        _upload(client, container)
    listed = client.get(f"/containers/{container}/files").json()["data"]
    assert [len(DATA), 10] == [file["bytes"] for file in listed]
    content = f"/containers/{container}/files/{listed[1]['id']}/content"
    server.order_fault(path="*/content", drip={"bytes": 3, "seconds": 0.05})
    started = time.monotonic()
    assert b"0123456789" == client.get(content).content
    assert time.monotonic() - started >= 0.15
    server.order_fault(path="*/content", malformed=True)
    assert b"01234" == client.get(content).content
    server.order_fault(path="*/content", status=404, when="after")
    assert "error" in client.get(content).json()
    assert 2 == len(_contents(server))
    assert [] == complaints(server.stderr)


def test_a_client_that_leaves_in_the_middle_of_an_answer(
    server: LocalServer, client: httpx.Client, container: str
) -> None:
    """The server notices, and closes the file."""
    path = f"/containers/{container}/files/{_upload(client, container)}/content"
    target = urlsplit(server.base_url)
    for _ in range(5):
        with socket.create_connection((target.hostname or "", target.port or 0)) as connection:
            connection.sendall(
                f"GET /v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n".encode()
            )
            assert connection.recv(1000)
    assert DATA == client.get(path).content
    assert [] == complaints(server.stderr)
    files = Path(f"/proc/{server.pid}/fd")
    if files.exists():
        assert _until(lambda: not any(str(link.resolve()).endswith("a.bin") for link in files.iterdir()))


def test_a_file_that_is_deleted_while_it_is_read(
    server: LocalServer, client: httpx.Client, container: str
) -> None:
    """The answer that has begun goes to its end; the next one is a 404."""
    file_id = _upload(client, container, DATA * 10)
    path = f"/containers/{container}/files/{file_id}"
    with client.stream("GET", f"{path}/content") as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        with httpx.Client(base_url=server.base_url, headers=client.headers, trust_env=False) as other:
            assert 200 == other.delete(path).status_code
            assert [] == _contents(server)
        assert DATA * 10 == first + b"".join(pieces)
    assert 404 == client.get(f"{path}/content").status_code


def test_bytes_go_although_nobody_asks(server: LocalServer, client: httpx.Client, container: str) -> None:
    """A container that expires while the server is idle has no bytes on disk a few seconds later."""
    _upload(client, container)
    with sqlite3.connect(server.state_dir / "state.db") as db:
        db.execute("UPDATE containers SET last_active = last_active - 1200")
    db.close()
    assert 1 == len(_contents(server))

    assert _until(lambda: not _contents(server), 15)


def test_contents_survive_a_kill(tmp_path: Path) -> None:
    """What was answered is there after SIGKILL, and what was under way is gone."""
    with LocalServer(tmp_path / "s") as server:
        headers = {"authorization": "Bearer x"}
        with httpx.Client(base_url=server.base_url, headers=headers, timeout=60, trust_env=False) as client:
            container = client.post("/containers", json={"name": "n"}).json()["id"]
            file_id = _upload(client, container)
        (server.state_dir / "incoming" / "half").write_bytes(b"half")
        server.kill()
        server.restart()
        with httpx.Client(base_url=server.base_url, headers=headers, timeout=60, trust_env=False) as client:
            assert DATA == client.get(f"/containers/{container}/files/{file_id}/content").content
        assert 1 == len(_contents(server))


def test_many_files_at_once(server: LocalServer, client: httpx.Client, container: str) -> None:
    """200 uploads by eight clients: all are there, none twice."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: _upload(client, container, b"%d" % number), range(200)))

    first = client.get(f"/containers/{container}/files?limit=100").json()
    second = client.get(f"/containers/{container}/files?limit=100&after={first['last_id']}").json()
    assert sorted(ids) == sorted(file["id"] for file in first["data"] + second["data"])
    assert 200 == len(_contents(server)) == len(set(ids))


def test_helpers_of_the_starter(
    server: LocalServer, client: httpx.Client, container: str, tmp_path: Path
) -> None:
    """Files from memory and from disk, odd entries, Files under a given id; and reasons for refusals."""
    (tmp_path / "out").write_bytes(DATA)
    made = server.add_container_file(container, "/mnt/data/out.bin", tmp_path / "out")
    assert ("/mnt/data/out.bin", "assistant", len(DATA)) == (made["path"], made["source"], made["bytes"])
    assert DATA == client.get(f"/containers/{container}/files/{made['id']}/content").content
    assert server.add_container_file(container, "/mnt/data/n", b"x", null_bytes=True)["bytes"] is None
    broken = server.add_container_file(container, "/mnt/data/a /mnt/data/b", None)
    assert 404 == client.get(f"/containers/{container}/files/{broken['id']}/content").status_code
    server.add_file("file-mine", b"{}", filename="a.json", purpose="batch")
    assert "a.json" == client.get("/files/file-mine").json()["filename"]
    server.advance_clock(1200)
    with pytest.raises(LocalServerError, match="Container is expired"):
        server.add_container_file(container, "/mnt/data/x", b"x")
    with pytest.raises(LocalServerError, match="Container with id 'cntr_x' not found"):
        server.add_container_file("cntr_x", "/mnt/data/x", b"x")
