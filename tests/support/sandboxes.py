"""What tests of commands in containers share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from airflow_containers.testing import LocalServer


def client_of(server: LocalServer) -> httpx.Client:
    """A client for the API of a server."""
    headers = {"authorization": f"Bearer {server.api_key}"}
    return httpx.Client(base_url=server.base_url, headers=headers, timeout=120, trust_env=False)


def create(client: httpx.Client, **fields: Any) -> str:
    """Make a container; returns its id."""
    answer = client.post("/containers", json={"name": "n", **fields})
    assert 200 == answer.status_code, answer.text
    container_id: str = answer.json()["id"]
    return container_id


def files_of(client: httpx.Client, container_id: str) -> dict[str, dict[str, Any]]:
    """The files of a container by path."""
    answer = client.get(f"/containers/{container_id}/files", params={"limit": 100})
    assert 200 == answer.status_code, answer.text
    return {file["path"]: file for file in answer.json()["data"]}


def until(condition: Callable[[], bool], seconds: float = 15) -> bool:
    """Wait for something; tells whether it came true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def processes_with(text: str) -> list[int]:
    """Process ids of this machine whose command line, with spaces, has a text in it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if text.encode() in line:
            found.append(int(folder.name))
    return found
