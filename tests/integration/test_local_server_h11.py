"""The local server on uvicorn's other HTTP parser, which is there when httptools is not installed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

_ROOT = Path(__file__).resolve().parents[2]
_CODE = (
    "import sys; sys.modules['httptools'] = None; from airflow_containers.cli import main; sys.exit(main())"
)


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that found no httptools."""
    state_dir = tmp_path_factory.mktemp("state")
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, "serve", "--port", "0", "--state-dir", str(state_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    assert process.stdout is not None
    yield process.stdout.readline().removeprefix("listening on ").strip()
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()


def _order(base_url: str, **order: Any) -> None:
    httpx.post(base_url.replace("/v1", "/_local/faults"), json=order, trust_env=False).raise_for_status()


def _get(base_url: str) -> bytes:
    target = urlsplit(base_url)
    with socket.create_connection((target.hostname or "", target.port or 0), timeout=10) as connection:
        connection.sendall(b"GET /v1/containers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def test_requests_are_served(base_url: str) -> None:
    """Create and list work as with the faster parser."""
    with httpx.Client(base_url=base_url, headers={"api-key": "k"}, trust_env=False) as client:
        created = client.post("/containers", json={"name": "n"})
        listed = client.get("/containers")

    assert created.json() == listed.json()["data"][0]


def test_a_reset_is_a_true_one(base_url: str) -> None:
    """RST, not an end of file."""
    _order(base_url, reset=True)

    with pytest.raises(ConnectionResetError):
        _get(base_url)


def test_a_truncated_answer_ends_early(base_url: str) -> None:
    """Less comes than was announced."""
    _order(base_url, truncate=5)

    head, _, body = _get(base_url).partition(b"\r\n\r\n")
    assert len(body) == 5
    assert b"content-length: 5\r\n" not in head.lower()
