"""The pytest plugin, as a user's test suite sees it, and the messages of its assertions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import airflow_containers
from airflow_containers.testing import LocalServer, LocalServerError

_ROOT = Path(airflow_containers.__file__).parents[1]

_SUITE = """
import json, os, urllib.request
import pytest

def call(method, url, key, body=None):
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, method=method)
    request.add_header("authorization", f"Bearer {key}")
    request.add_header("content-type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)

def test_one(containers_server, containers_connection):
    connection = json.loads(os.environ["AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT"])
    assert containers_connection == "openai_containers_default"
    assert connection["conn_type"] == "openai_containers"
    assert connection["host"] == containers_server.base_url
    containers_server.seed(1)
    call("POST", connection["host"] + "/containers", connection["password"], {"name": "left behind"})
    containers_server.assert_requested("POST", "/v1/containers", times=1)
    assert [entry.name for entry in containers_server.requests()] == ["left behind"]

def test_two(containers_server):
    assert "AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT" not in os.environ
    assert containers_server.requests() == []
    containers_server.assert_nothing_left()
    containers_server.kill()

def test_three(containers_server):
    assert containers_server.containers() == []

def test_four(containers_server, containers_connection):
    connection = json.loads(os.environ["AIRFLOW_CONN_OPENAI_CONTAINERS_DEFAULT"])
    headers = {"api-key": connection["password"]}
    request = urllib.request.Request(connection["host"] + "/containers", headers=headers)
    assert urllib.request.urlopen(request).status == 200
    httpx = pytest.importorskip("httpx")
    assert httpx.get(connection["host"] + "/containers", headers=headers).status_code == 200
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "intranet.example.com,127.0.0.1"

def test_five():
    assert os.environ.get("NO_PROXY") == "intranet.example.com"
    assert "no_proxy" not in os.environ
"""


def test_the_fixtures_in_a_suite_of_their_own(tmp_path: Path) -> None:
    """Each test gets an empty server, also after one that killed it; what the connection set is taken back.

    A proxy that leads nowhere is in none's way.
    """
    (tmp_path / "test_suite.py").write_text(_SUITE, encoding="utf-8")
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("AIRFLOW_CONN_") and not key.lower().endswith("_proxy")
    }
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "intranet.example.com"}
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "airflow_containers.testing",
            "-p",
            "no:cacheprovider",
            ".",
        ],
        cwd=tmp_path,
        env={**environment, **proxy, "PYTHONPATH": str(_ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "5 passed" in result.stdout, result.stdout + result.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    """A server of this test's own."""
    with LocalServer(tmp_path / "state") as server:
        yield server


def _post(server: LocalServer, name: str) -> None:
    import httpx

    httpx.post(
        f"{server.base_url}/containers", json={"name": name}, headers={"api-key": "k"}, trust_env=False
    ).raise_for_status()


def test_assert_requested(server: LocalServer) -> None:
    """The message says what was wanted, how often it came, and what came instead."""
    _post(server, "a")
    _post(server, "b")

    assert ["a", "b"] == [entry.name for entry in server.assert_requested("POST", "/v1/containers")]
    assert ["b"] == [
        entry.name for entry in server.assert_requested("POST", "/v1/containers", times=1, name="b")
    ]
    server.assert_requested("DELETE", "/v1/containers/*", times=0)
    with pytest.raises(AssertionError) as caught:
        server.assert_requested("POST", "/v1/containers", times=1)
    assert [
        "expected POST /v1/containers 1 time, got 2. The server got:",
        "  #1 POST /v1/containers name='a' -> 200",
        "  #2 POST /v1/containers name='b' -> 200",
    ] == str(caught.value).splitlines()
    with pytest.raises(AssertionError, match="expected GET /v1/containers status=404 at least once, got 0"):
        server.assert_requested("GET", "/v1/containers", status=404)


def test_assert_nothing_left(server: LocalServer) -> None:
    """Running containers are named; expired ones are not left."""
    _post(server, "a")

    with pytest.raises(AssertionError) as caught:
        server.assert_nothing_left()
    first, second = str(caught.value).splitlines()
    assert "expected no running container, 1 container is left:" == first
    assert second == f"  {server.alive()[0]['id']} name='a'"
    server.advance_clock(1200)
    server.assert_nothing_left()
    assert ["expired"] == [row["status"] for row in server.containers()]


def test_a_server_that_cannot_start_says_why(server: LocalServer) -> None:
    """What the process printed is in the error."""
    with pytest.raises(
        LocalServerError, match=r"ended before it was ready: .*in use by another local server"
    ):
        LocalServer(server.state_dir).start()


def test_a_server_that_is_too_slow_is_given_up(tmp_path: Path) -> None:
    """A time limit ends the wait and the process."""
    late = LocalServer(tmp_path / "late", start_timeout=0.0)

    with pytest.raises(LocalServerError, match="was not ready in time"):
        late.start()
    assert late.pid is None


def test_a_server_that_is_not_running_says_so(tmp_path: Path) -> None:
    """Before the start and after the end, the error is about that."""
    server = LocalServer(tmp_path / "s")
    with pytest.raises(LocalServerError, match=r"was not started; call start\(\) first"):
        server.requests()
    server.start()
    with pytest.raises(LocalServerError, match="is running already"):
        server.start()
    server.stop()
    with pytest.raises(LocalServerError, match="does not answer"):
        server.requests()


def test_a_temporary_state_directory_is_removed() -> None:
    """Without a directory of its own, a server leaves nothing on the disk; its key is not in its repr."""
    server = LocalServer(api_key="k-secret")
    with server:
        state_dir = server.state_dir
        assert state_dir.is_dir()
        assert f"<LocalServer {server.base_url}>" == repr(server)

    assert not state_dir.exists()


def test_a_temporary_state_directory_survives_a_restart() -> None:
    """In good order or not, what was there before is there afterwards."""
    with LocalServer() as server:
        _post(server, "kept")
        server.restart()
        assert ["kept"] == [row["name"] for row in server.alive()]
        server.kill()
        server.restart()
        assert ["kept"] == [row["name"] for row in server.alive()]


@pytest.mark.parametrize("options", [{"start_timeout": 0.0}, {"api_key": " "}], ids=["slow", "wrong"])
def test_a_failed_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Neither a process nor a log nor a state directory; the next try is a new one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = LocalServer(**options)

    with pytest.raises(LocalServerError):
        server.start()
    assert server.pid is None
    assert [] == list(tmp_path.iterdir())


def test_an_interrupted_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C while a server gets ready ends it, too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = LocalServer()

    def interrupt(process: subprocess.Popen[str]) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "_first_line", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert server.pid is None
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("temporary", [True, False])
def test_a_server_does_not_outlive_a_killed_starter(tmp_path: Path, temporary: bool) -> None:
    """After SIGKILL it ends by itself; a temporary state goes with it, a directory that was given stays."""
    temp, given = tmp_path / "temp", tmp_path / "given"
    temp.mkdir()
    code = (
        "import sys, time; from airflow_containers.testing import LocalServer; "
        f"server = LocalServer({None if temporary else str(given)!r}).start(); "
        "print(server.base_url, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(_ROOT)},
    )
    assert starter.stdout is not None
    target = urlsplit(starter.stdout.readline().strip())
    address = (target.hostname or "", target.port or 0)
    socket.create_connection(address).close()
    starter.kill()
    starter.wait()
    starter.stdout.close()

    deadline = time.monotonic() + 30
    while (_answers(address) or list(temp.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _answers(address)
    assert [] == list(temp.iterdir())
    assert temporary != (given / "state.db").exists()


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionError:
        return False
    return True


def test_the_state_can_be_kept(tmp_path: Path) -> None:
    """A directory that was given survives a stop, and the next server goes on with it."""
    with LocalServer(tmp_path / "s") as first:
        _post(first, "kept")
    with LocalServer(tmp_path / "s") as second:
        assert ["kept"] == [row["name"] for row in second.alive()]
