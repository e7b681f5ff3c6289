"""The local server as a process: start, stop, crash, faults on the wire, many clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_containers.testing import LocalServer, LocalServerError
from tests.support.server_output import complaints
from tests.support.skill_zip import inline_skill, skill_zip

_ROOT = Path(__file__).resolve().parents[2]
_CANARY = "canary-0b9e"


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
    """A client of that server."""
    with _client(server) as client:
        yield client


def _client(server: LocalServer) -> httpx.Client:
    return httpx.Client(
        base_url=server.base_url,
        headers={"authorization": f"Bearer {server.api_key}"},
        timeout=30,
        trust_env=False,
    )


def _serve(*options: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "airflow_containers.cli", "serve", *options],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )


def _raw_post(server: LocalServer, name: str) -> bytes:
    """The bytes of the answer until the connection ends."""
    target = urlsplit(server.base_url)
    body = json.dumps({"name": name})
    with socket.create_connection((target.hostname or "", target.port or 0), timeout=10) as connection:
        connection.sendall(
            f"POST /v1/containers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_when_it_is_ready_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """One line on standard output, connections from then on, status 0 after a signal, no other output."""
    process = _serve("--port", "0", "--state-dir", str(tmp_path))
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+/v1)\n", line)
    assert match is not None, line
    assert httpx.get(f"{match[1]}/containers", headers={"api-key": "k"}, trust_env=False).status_code == 200

    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)
    assert (0, "", []) == (process.returncode, rest, complaints(errors))


@pytest.mark.parametrize("state", ["keep", "discard"])
def test_the_command_can_end_with_its_input(tmp_path: Path, state: str) -> None:
    """At the end of standard input it ends cleanly; it discards its own files alone, and only then."""
    state_dir = tmp_path / "s"
    for leave in ("signal", "end of input"):
        with _serve(
            *("--port", "0", "--state-dir", str(state_dir), "--until-eof", state), stdin=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening on ")
            process.stdin.write("what is written there does not matter\n")
            process.stdin.flush()
            if leave == "signal":
                process.terminate()
                assert process.wait(20) == 0
                assert (state_dir / "state.db").exists()
                (state_dir / "other").touch()
            process.stdin.close()
            assert process.wait(20) == 0
            assert process.stderr is not None
            assert [] == complaints(process.stderr.read())
    assert (state == "discard") == (["other"] == [path.name for path in state_dir.iterdir()])


def test_nobody_there_any_more(tmp_path: Path) -> None:
    """Input and output that end before the server is ready are as good as an end afterwards."""
    with _serve(
        *("--port", "0", "--state-dir", str(tmp_path / "s"), "--until-eof", "discard"), stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait(20)
        assert not (tmp_path / "s").exists()


def test_an_open_connection_does_not_keep_the_server_up(tmp_path: Path) -> None:
    """Neither an idle connection nor a request that waits stands in the way of a clean end."""
    with LocalServer(tmp_path / "s") as server, _client(server) as client:
        server.order_fault(delay=3600)

        def wait() -> None:
            with contextlib.suppress(httpx.TransportError):
                client.get("/containers")

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not server.faults()[0]["hits"]:
            time.sleep(0.01)
        server.stop()
        waiting.join()

    # A process that has to be killed has another status.
    assert server._process is not None
    assert server._process.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: other machines could reach it"),
        (["--host", "::"], "--host ::: other machines could reach it"),
        (["--host", "no such host"], "--host no such host: cannot be resolved"),
        (["--host", "203.0.113.7", "--api-key", "k"], "--host 203.0.113.7: cannot listen"),
        (["--state-dir", __file__], f"--state-dir {__file__}: cannot be used"),
        (["--api-key", " "], "--api-key: it is empty"),
        (["--port", "70000"], "--port: expected a number from 0 to 65535"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_work_is_one_line_and_status_2(tmp_path: Path, options: list[str], message: str) -> None:
    """The option at fault is named; nothing was started."""
    process = _serve("--port", "0", "--state-dir", str(tmp_path), *options)
    printed, errors = process.communicate(timeout=30)

    assert (2, "") == (process.returncode, printed)
    assert message in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_a_port_in_use_is_said(server: LocalServer, tmp_path: Path) -> None:
    """A second server on the port is refused."""
    port = str(urlsplit(server.base_url).port)
    process = _serve("--port", port, "--state-dir", str(tmp_path))
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    problem = f"--port {port}: already in use; give another one, or 0 for a free one"
    assert [f"airflow-containers serve: error: {problem}"] == errors.splitlines()


def test_a_state_directory_in_use_is_said(server: LocalServer) -> None:
    """A second server on the state is refused."""
    process = _serve("--port", "0", "--state-dir", str(server.state_dir))
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    assert f"--state-dir {server.state_dir}: is in use by another local server" in errors


def test_the_key_can_come_from_the_environment(tmp_path: Path) -> None:
    """A key in the environment is checked, and shows in no process list."""
    with LocalServer(tmp_path / "s", api_key="k-1") as server, _client(server) as client:
        wrong = client.get("/containers", headers={"authorization": "Bearer k-2"})

        assert (200, 401) == (client.get("/containers").status_code, wrong.status_code)
        assert [200, 401] == [entry.status for entry in server.requests()][::-1]
        command = Path(f"/proc/{server.pid}/cmdline")
        assert not command.exists() or b"k-1" not in command.read_bytes()


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """After SIGKILL amid writes, every create and delete that was answered is there, on the same port."""
    with LocalServer(tmp_path / "s") as server:
        made: list[str] = []
        deleted: list[str] = []

        def work() -> None:
            with _client(server) as client:
                while True:
                    try:
                        made.append(client.post("/containers", json={"name": "n"}).json()["id"])
                        if len(made) % 3 == 0:
                            last = made[-1]
                            assert client.delete(f"/containers/{last}").status_code == 200
                            deleted.append(last)
                    except httpx.TransportError:
                        return

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(made) < 200:
            time.sleep(0.01)
        url = server.base_url
        server.kill()
        for thread in threads:
            thread.join()
        server.restart()

        assert url == server.base_url
        states = {row["id"]: row["status"] for row in server.containers()}
        assert set(made) <= set(states)
        assert all(states[container_id] == "deleted" for container_id in deleted)
        # At most the one request of each thread that was under way is more than was acknowledged.
        assert len(states) <= len(made) + len(threads)


def test_many_clients_at_once(server: LocalServer) -> None:
    """60 threads create, look and delete; every id is unique and everything adds up."""

    def work(number: int) -> list[str]:
        with _client(server) as client:
            ids = []
            for turn in range(5):
                answer = client.post("/containers", json={"name": f"n{number}-{turn}"})
                assert answer.status_code == 200
                ids.append(answer.json()["id"])
            assert client.get(f"/containers/{ids[0]}").json()["name"] == f"n{number}-0"
            assert client.delete(f"/containers/{ids[0]}").status_code == 200
            return ids

    with ThreadPoolExecutor(60) as pool:
        ids = [container_id for ids in pool.map(work, range(60)) for container_id in ids]

    assert 300 == len(set(ids)) == len(server.containers())
    assert 240 == len(server.alive())
    assert 300 == len(server.requests("POST", "/v1/containers", status=200))
    listed: list[str] = []
    with _client(server) as client:
        page: dict[str, Any] = {"has_more": True}
        while page["has_more"]:
            after = {"after": page["last_id"]} if listed else {}
            page = client.get("/containers", params={"limit": "100", **after}).json()
            listed += [row["id"] for row in page["data"]]
    assert 240 == len(listed) == len(set(listed))


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_reset_is_a_true_one(server: LocalServer, when: str, left: int) -> None:
    """The peer gets RST, not an end of file; `when` decides whether the work was done."""
    server.order_fault(method="POST", reset=True, when=when)

    with pytest.raises(ConnectionResetError):
        _raw_post(server, "n")
    assert left == len(server.alive())
    (entry,) = server.requests()
    assert (None, f"fault_1: reset {when}") == (entry.status, entry.fault)


@pytest.mark.parametrize(("truncate", "sent"), [(True, None), (0, 0), (7, 7), (100_000, None)])
def test_a_truncated_answer_promises_more_than_it_sends(
    server: LocalServer, truncate: int | bool, sent: int | None
) -> None:
    """The connection ends in good order before the announced length is reached."""
    server.order_fault(truncate=truncate)

    head, _, body = _raw_post(server, "n").partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    assert len(body) < int(length[1])
    assert sent is None or sent == len(body)
    assert 1 == len(server.alive())


def test_a_truncated_answer_is_noticed_by_a_client(server: LocalServer, client: httpx.Client) -> None:
    """An HTTP client reports the broken answer, and its next request works."""
    server.order_fault(truncate=True)

    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/containers", json={"name": "n"})
    assert client.post("/containers", json={"name": "n"}).status_code == 200


def test_a_delay_lets_a_client_give_up_and_the_work_is_done_all_the_same(
    server: LocalServer, client: httpx.Client
) -> None:
    """A timeout on the client's side says nothing about the server's."""
    server.order_fault(method="POST", delay=1.5)

    with pytest.raises(httpx.ReadTimeout):
        client.post("/containers", json={"name": "late"}, timeout=0.1)
    assert [] == server.alive()
    deadline = time.monotonic() + 10
    while not server.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ["late"] == [row["name"] for row in server.alive()]


def test_a_slow_answer_arrives_whole(server: LocalServer, client: httpx.Client) -> None:
    """A dripping body comes in pieces; others are served meanwhile."""
    server.order_fault(method="POST", drip={"bytes": 100, "seconds": 0.15})
    with client.stream("POST", "/containers", json={"name": "n"}) as answer:
        assert server.alive()
        pieces = list(answer.iter_raw())

    assert len(pieces) > 1
    assert json.loads(b"".join(pieces))["name"] == "n"


def test_faults_combine(server: LocalServer, client: httpx.Client) -> None:
    """Status, header, delay and a malformed body on one answer, after the work was done."""
    server.order_fault(
        when="after",
        status=502,
        headers={"retry-after-ms": "1"},
        delay=0.05,
        malformed=True,
        error={"message": "m"},
    )

    answer = client.post("/containers", json={"name": "n"})
    assert (502, "1") == (answer.status_code, answer.headers["retry-after-ms"])
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert 1 == len(server.alive())


def test_an_order_that_makes_no_sense_is_an_error_in_the_test(server: LocalServer) -> None:
    """The starter passes on what the server says about it."""
    with pytest.raises(LocalServerError, match=r"Unknown parameter: 'statsu'\."):
        server.order_fault(statsu=500)


def test_large_skill_data_is_accepted_and_larger_bodies_are_not(
    server: LocalServer, client: httpx.Client
) -> None:
    """The largest inline skill goes through; a body over the limit is a 413 that a client can read."""
    # Random bytes stay as many as they are: just below 50 MiB in two files just below 25 MiB.
    noise = {name: random.Random(1).randbytes(26_200_000) for name in ("a.bin", "b.bin")}
    skill = inline_skill(data=skill_zip(**noise))
    accepted = client.post("/containers", json={"name": "n", "skills": [skill]})
    refused = client.post("/containers", content=b"x" * ((128 << 20) + 1))

    assert (200, 413) == (accepted.status_code, refused.status_code)
    first, second = server.requests()
    assert first.body is not None
    assert f"<{len(skill['source']['data'])} characters>" == first.body["skills"][0]["source"]["data"]
    assert (None, (128 << 20) + 1) == (second.body, second.body_bytes)


def test_a_canary_is_neither_on_disk_nor_printed(tmp_path: Path) -> None:
    """Key and secret values stay out of the state, the journal and the output, whatever happens."""
    secret = {"domain": "api.example.com", "name": "K", "value": f"{_CANARY}-value"}
    policy = {"type": "allowlist", "allowed_domains": ["api.example.com"], "domain_secrets": [secret]}
    with LocalServer(tmp_path / "s", api_key=f"{_CANARY}-key") as server, _client(server) as client:
        client.post("/containers", json={"name": "n", "network_policy": policy})
        client.post("/containers", json={"name": "n", "network_policy": policy, "more": 1})
        client.post("/containers", json={"name": "n"}, headers={"authorization": f"Bearer {_CANARY}-wrong"})
        server.order_fault(reset=True, when="after")
        with pytest.raises(httpx.TransportError):
            client.post("/containers", json={"name": "n", "network_policy": policy})
        entries = server.requests()
        stderr = server.stderr
        server.kill()
        stored = b"".join(path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file())

    assert [200, 400, 401, None] == [entry.status for entry in entries]
    assert "***" in repr(entries)
    assert _CANARY not in repr(entries) + stderr
    assert b"cntr_" in stored
    assert _CANARY.encode() not in stored


def test_a_request_that_breaks_off_is_not_carried_out(server: LocalServer) -> None:
    """Less of the body than was announced, then the end: nothing is made and nothing is journaled."""
    target = urlsplit(server.base_url)
    whole = b'{"name": "cut short"}'
    for end in (socket.SHUT_WR, socket.SHUT_RDWR):
        with socket.create_connection((target.hostname or "", target.port or 0), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/containers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
                b"content-type: application/json\r\ncontent-length: 5000\r\n\r\n" + whole
            )
            time.sleep(0.2)
            connection.shutdown(end)
            if end == socket.SHUT_WR:
                while connection.recv(65536):
                    pass
    time.sleep(0.2)

    assert [] == server.containers()
    assert [] == server.requests()
    assert [] == complaints(server.stderr)


def test_chunked_bodies_and_kept_connections(server: LocalServer) -> None:
    """A body without a length is read; a connection serves many requests, errors between them."""
    target = urlsplit(server.base_url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port)
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    statuses = []
    for body in (b'{"name": ', b'"n"}'), (b"{",), (b'{"name": "m"}',):
        connection.request("POST", "/v1/containers", iter(body), headers, encode_chunked=True)
        with connection.getresponse() as answer:
            answer.read()
            statuses.append(answer.status)
    connection.close()

    assert [200, 400, 200] == statuses
