"""Multipart forms, and what the state directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.local.conftest import Answer, Driver

BOUNDARY = "limit"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    """One part of a form; a file when it has a name."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """The body of a form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(call: Driver, path: str, *parts: bytes, chunks: int = 1) -> Answer:
    """Send a form."""
    return call("POST", path, content=form(*parts), headers=FORM, chunks=chunks)


def make_container(call: Driver) -> str:
    """A new container's id."""
    container_id: str = call("POST", "/v1/containers", {"name": "n"}).json["id"]
    return container_id


def upload_file(
    call: Driver, container: str, data: bytes = b"data", filename: str = "a.csv"
) -> dict[str, Any]:
    """Put a file into a container."""
    answer = post(call, f"/v1/containers/{container}/files", part("file", data, filename))
    assert 200 == answer.status, answer.body
    file: dict[str, Any] = answer.json
    return file


def state_of(call: Driver) -> Path:
    """The state directory."""
    return call.app._store.path


def contents(call: Driver) -> list[str]:
    """Every file on disk, below the state directory."""
    folders = [state_of(call) / name for name in ("containers", "files", "uploads", "skills", "incoming")]
    return sorted(path.name for folder in folders for path in folder.rglob("*") if path.is_file())


def make_upload(call: Driver, size: int) -> str:
    """A new Upload's id."""
    body = {"filename": "f", "purpose": "user_data", "bytes": size, "mime_type": "text/plain"}
    upload_id: str = call("POST", "/v1/uploads", body).json["id"]
    return upload_id
